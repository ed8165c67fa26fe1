import { bare, direct, nginx, obvious, pipe } from "./plain.ts";
import { portkey } from "./portkey.ts";
import { sluiceEach, sluiceSse, sluiceWs, sluiceWs50, sluiceWs50Http2 } from "./sluice.ts";
import type { Subject } from "./subject.ts";

export const SUBJECTS: readonly Subject[] = [
  direct,
  nginx,
  pipe,
  obvious,
  portkey,
  sluiceSse,
  sluiceWs,
  sluiceWs50,
  sluiceWs50Http2,
  sluiceEach,
  bare,
];

/** @throws Error that names what is unknown */
export function subjectsNamed(names: readonly string[]): Subject[] {
  return names.map((name) => {
    const subject = SUBJECTS.find((each) => each.name === name);
    const known = SUBJECTS.map((each) => each.name).join(", ");
    if (subject === undefined) throw new Error(`no subject is called ${name}; there are ${known}`);
    return subject;
  });
}
