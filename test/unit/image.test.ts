/** Dockerfile, compose.yaml and ops/kubernetes against the settings' defaults and each other. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { readCommand, settingsTable } from "../../src/config.ts";
import { all, contextOf, only, pairs, parseDockerfile, readText, type Stage } from "../support/dockerfile.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const text = (name: string): string => readText(join(ROOT, name));
const manifest = JSON.parse(text("package.json")) as { version: string; license: string };

const command = readCommand([], {});
if (command.kind !== "serve") throw new Error("the defaults do not start a gateway");
const { config } = command;

/** After the shutdown time, so long for the last bytes to leave. Seconds. */
const FLUSH_S = 2;
const KNOWN = new Set(
  settingsTable()
    .match(/`[A-Z][A-Z_]+`/g)
    ?.map((name) => name.slice(1, -1)),
);

const stages = parseDockerfile(text("Dockerfile"));
const image = stages.at(-1) as Stage;
const env = pairs(only(image, "ENV"));

/** What the settings make of these variables. */
function settled(variables: Readonly<Record<string, string>>) {
  const read = readCommand([], variables);
  if (read.kind !== "serve") throw new Error("not a start");
  return read;
}

const seconds = (duration: string): number => {
  const [, digits, unit] = /^(\d+)(s|m)$/.exec(duration) ?? [];
  return Number(digits) * (unit === "m" ? 60 : 1);
};

describe("the image", () => {
  test("is labelled as OCI's annotations want, from the manifest and the build's arguments", () => {
    const labels = pairs(only(image, "LABEL"));
    const names = ["title", "description", "licenses", "version", "revision", "created", "source"];
    expect(Object.keys(labels)).toEqual(names.map((name) => `org.opencontainers.image.${name}`));
    expect(labels["org.opencontainers.image.licenses"]).toBe(manifest.license);
    const given = all(image, "ARG").map((each) => each.text.split("=") as [string, string]);
    for (const [name] of given) expect(Object.values(labels)).toContain(`$${name}`);
    expect(Object.fromEntries(given)["VERSION"]).toBe(manifest.version);
  });

  test("runs as a user that has a number, and is not root", () => {
    expect(only(image, "USER")).toMatch(/^[1-9]\d*:[1-9]\d*$/);
  });

  test("needs keys, or none on purpose, and then listens where it says", () => {
    expect(() => settled(env)).toThrow(/HOST.*SLUICE_API_KEYS/);
    const { host, port } = settled({ ...env, SLUICE_AUTH: "none" }).config;
    expect(host).toBe("0.0.0.0");
    expect(only(image, "EXPOSE")).toBe(String(port));
  });

  test("is built from the lockfile, of what the context lets through", () => {
    const isInContext = contextOf(text(".dockerignore"));
    for (const path of ["node_modules", ".git", "test", ".env", "dist"])
      expect(isInContext(path)).toBe(false);
    const [build] = stages as [Stage];
    const runs = all(build, "RUN").map((each) => each.text);
    expect(runs[0]).toContain('"npm", "ci", "--ignore-scripts"');
    expect(runs.at(-2)).toContain('"prune", "--omit=dev"');
  });
});

interface Service {
  readonly image: string;
  readonly build?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports: readonly string[];
  readonly volumes?: readonly string[];
  readonly read_only: boolean;
  readonly cap_drop: readonly string[];
  readonly security_opt: readonly string[];
  readonly stop_grace_period?: string;
  readonly healthcheck?: unknown;
}

describe("compose.yaml", () => {
  const { services, volumes } = parse(text("compose.yaml"), { merge: true }) as {
    services: Record<string, Service>;
    volumes: Record<string, unknown>;
  };
  const gateway = services["gateway"] as Service;
  const each = Object.entries(services);

  test.each(each)("%s is confined, pinned, watched, and published on loopback alone", (_name, service) => {
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ["ALL"],
      security_opt: ["no-new-privileges:true"],
    });
    expect(service.image).toMatch(/:v?\d+\.\d+\.\d+$/);
    expect(service.healthcheck !== undefined || all(image, "HEALTHCHECK").length > 0).toBe(true);
    expect(service.ports.filter((port) => !port.startsWith("127.0.0.1:"))).toEqual([]);
  });

  test.each(each)("what %s mounts is there", (_name, service) => {
    for (const volume of service.volumes ?? []) {
      const [source = "", , mode] = volume.split(":");
      if (!source.startsWith("./")) expect(Object.keys(volumes)).toContain(source);
      else {
        expect(existsSync(join(ROOT, source)), source).toBe(true);
        expect(mode, source).toBe("ro");
      }
    }
  });

  test("the gateway is of this version, and its settings are settings that it takes", () => {
    expect(gateway.image).toBe(`sluice:${manifest.version}`);
    const variables = Object.fromEntries(
      Object.entries(gateway.environment ?? {}).map(([name, value]) => [
        name,
        value.replace(/\$\{\w+:-(.*)\}/, "$1"),
      ]),
    );
    expect(Object.keys(variables).filter((name) => !KNOWN.has(name))).toEqual([]);
    const { config: composed, warnings } = settled({ ...env, ...variables });
    expect(warnings).toEqual([]);
    expect(composed.upstreams).toMatchObject([{ demo: true }]);
    const keyed = { ...env, ...variables, SLUICE_AUTH: "keys", SLUICE_API_KEYS: "me:sesame" };
    expect(settled(keyed).config).toMatchObject({ metricsAuth: "none", apiKeys: [{ name: "me" }] });
  });

  test("Prometheus scrapes the gateway by the name that it answers to", () => {
    const { scrape_configs: scrapes } = parse(text("ops/prometheus/prometheus.yml")) as {
      scrape_configs: { static_configs: { targets: string[] }[] }[];
    };
    const targets = scrapes.flatMap((scrape) => scrape.static_configs.flatMap((each) => each.targets));
    const { SLUICE_PUBLIC_URL: url = "" } = gateway.environment ?? {};
    expect(targets).toContain(new URL(url).host);
    expect(new URL(url).host).toBe(`gateway:${env["PORT"]}`);
  });

  test("the gateway has the time that it takes to stop", () => {
    const stopS = config.shutdownTimeoutMs / 1000 + FLUSH_S;
    expect(seconds(gateway.stop_grace_period ?? "")).toBeGreaterThan(stopS);
  });
});

describe("ops/kubernetes", () => {
  interface Container {
    readonly image: string;
    readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
    readonly env: readonly {
      readonly name: string;
      readonly value?: string;
      readonly valueFrom?: { readonly secretKeyRef: { readonly name: string; readonly key: string } };
    }[];
    readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
    readonly resources: Record<"requests" | "limits", { readonly memory: string; readonly cpu?: string }>;
    readonly [probe: `${string}Probe`]: {
      readonly httpGet: { readonly path: string; readonly port: string };
    };
    readonly securityContext: object;
  }
  interface Manifest {
    readonly kind: string;
    readonly metadata: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
    // biome-ignore lint/suspicious/noExplicitAny: each kind has a form of its own
    readonly [member: string]: any;
  }
  const FOLDER = "ops/kubernetes";
  const files = readdirSync(join(ROOT, FOLDER));
  const read = (name: string): Manifest => {
    const documents = parseAllDocuments(text(`${FOLDER}/${name}`));
    expect(documents, name).toHaveLength(1);
    return (documents[0] as { toJS(): Manifest }).toJS();
  };
  const kustomization = read("kustomization.yaml");
  const deployment = read("deployment.yaml");
  const secret = read("secret.example.yaml");
  const pod = deployment["spec"].template.spec;
  const [container] = pod.containers as [Container];
  const value = (name: string): string | undefined => container.env.find((each) => each.name === name)?.value;

  test("the kustomization lists what is there; the secret and the optional monitor are left out", () => {
    const listed = kustomization["resources"] as string[];
    const left = ["kustomization.yaml", "secret.example.yaml", "servicemonitor.yaml"];
    expect([...listed, ...left].sort()).toEqual([...files].sort());
    expect(kustomization["images"]).toMatchObject([{ name: container.image, newTag: manifest.version }]);
  });

  test("Service, budget and monitor select the pods, and nothing else does", () => {
    const { labels } = deployment["spec"].template.metadata;
    expect(Object.keys(labels).length).toBeGreaterThan(0);
    expect(deployment["spec"].selector.matchLabels).toEqual(labels);
    expect(read("service.yaml")["spec"].selector).toEqual(labels);
    expect(read("poddisruptionbudget.yaml")["spec"].selector.matchLabels).toEqual(labels);
    expect(read("servicemonitor.yaml")["spec"].selector.matchLabels).toEqual(
      read("service.yaml").metadata.labels,
    );
  });

  test("a pod has the time for its sleep, its shutdown and the last bytes", () => {
    const shutdownMs = Number(value("SLUICE_SHUTDOWN_TIMEOUT_MS"));
    expect(shutdownMs).toBe(config.shutdownTimeoutMs);
    const neededS = container.lifecycle.preStop.sleep.seconds + shutdownMs / 1000 + FLUSH_S;
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(neededS);
  });

  test("what generations may hold leaves 256 MiB of the memory's limit", () => {
    const [, digits, unit] = /^(\d+)([MG])i$/.exec(container.resources.limits.memory) ?? [];
    const limit = Number(digits) * (unit === "G" ? 2 ** 30 : 2 ** 20);
    const held = Number(value("SLUICE_RUNNING_MAX_BYTES")) + Number(value("SLUICE_RETAINED_MAX_BYTES"));
    expect(held + 256 * 2 ** 20).toBeLessThanOrEqual(limit);
  });

  test("probes ask the routes of health, at a port that is named", () => {
    const [port] = container.ports;
    expect(port).toEqual({ name: "http", containerPort: Number(env["PORT"]) });
    const probes = { startupProbe: "/livez", readinessProbe: "/readyz", livenessProbe: "/livez" } as const;
    for (const [name, path] of Object.entries(probes))
      expect(container[name as keyof typeof probes]?.httpGet).toEqual({ path, port: "http" });
    expect(read("service.yaml")["spec"].ports).toMatchObject([{ name: "http", targetPort: "http" }]);
    expect(read("servicemonitor.yaml")["spec"].endpoints).toMatchObject([{ port: "http", path: "/metrics" }]);
  });

  test("it runs as the image's user, without rights, on a root that it cannot write", () => {
    const [uid, gid] = only(image, "USER").split(":").map(Number);
    expect(pod.securityContext).toEqual({
      runAsNonRoot: true,
      runAsUser: uid,
      runAsGroup: gid,
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(container.securityContext).toEqual({
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
    });
    expect(pod.automountServiceAccountToken).toBe(false);
  });

  test("its settings are settings, and its secrets stand in the example, which the gateway takes", () => {
    expect(container.env.map(({ name }) => name).filter((name) => !KNOWN.has(name))).toEqual([]);
    const held = secret["stringData"] as Record<string, string>;
    const variables = Object.fromEntries(
      container.env.map((each) => [
        each.name,
        each.value ?? held[each.valueFrom?.secretKeyRef.key ?? ""] ?? "missing",
      ]),
    );
    const referred = container.env.flatMap((each) => each.valueFrom?.secretKeyRef ?? []);
    for (const { name, key } of referred) {
      expect(name).toBe(secret.metadata.name);
      expect(Object.keys(held)).toContain(key);
    }
    const { config: read } = settled({ ...env, ...variables });
    expect(read.apiKeys.map(({ key }) => key)).toContain(held["prometheus-key"]);
    expect(read.upstreams).toMatchObject([{ baseUrl: held["upstream-url"] }]);
  });
});
