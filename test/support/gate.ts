/** Places at the gate, with what came of them. */
import type { Admission, AdmissionRequest, Lease, Place, Target } from "../../src/core/admission.ts";
import type { Fault } from "../../src/core/errors.ts";

const ANYWHERE: readonly Target[] = [{ name: "upstream" }];

export const placeRequest = (more: Partial<AdmissionRequest<Target>> = {}): AdmissionRequest<Target> => ({
  key: "none",
  bytes: 0,
  targets: () => ANYWHERE,
  ...more,
});

export interface Visit {
  readonly place: Place<Target>;
  lease?: Lease<Target>;
  fault?: Fault;
}

/** Enters, and notes the lease or the fault. @throws what `enter` throws */
export function enter(gate: Admission, more: Partial<AdmissionRequest<Target>> = {}): Visit {
  const place = gate.enter(placeRequest(more));
  const visit: Visit = { place };
  place.granted.then(
    (lease) => {
      visit.lease = lease;
    },
    (fault: Fault) => {
      visit.fault = fault;
    },
  );
  return visit;
}
