/** A real Prometheus as ops/prometheus configures it, with its own storage, scraping one gateway every second. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { until } from "./gateway.ts";
import { PROMETHEUS_FOLDER, prometheusConfig } from "./ops.ts";
import { freePort } from "./proxies.ts";

export const hasPrometheus = spawnSync("prometheus", ["--version"]).error === undefined;

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface RuleState {
  readonly name: string;
  readonly health: string;
  readonly lastError?: string;
}

/** A while in which nothing happened; moments are seconds since 1970. */
export interface Standstill {
  /** Every scrape since then has what happened before, and there was one. */
  readonly began: number;
  /** Queries at this moment see what happened before. */
  readonly seen: number;
}

export class Prometheus {
  readonly #url: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;

  private constructor(url: string, child: ChildProcess) {
    this.#url = url;
    this.#child = child;
    this.#exited = once(child, "exit");
  }

  /**
   * @param folder an empty one, for its configuration and its storage
   * @param target the address of the gateway, in place of every target that is configured
   */
  static async start(folder: string, target: string): Promise<Prometheus> {
    const config = configure(folder, target);
    const address = `127.0.0.1:${await freePort()}`;
    const data = join(folder, "data");
    mkdirSync(data);
    const child = spawn(
      "prometheus",
      [`--config.file=${config}`, `--storage.tsdb.path=${data}`, `--web.listen-address=${address}`],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    let log = "";
    child.stderr.on("data", (chunk: Buffer) => {
      log += chunk.toString();
    });
    const prometheus = new Prometheus(`http://${address}`, child);
    await until("Prometheus is ready", async () => {
      if (child.exitCode !== null) throw new Error(`Prometheus exited with ${child.exitCode}: ${log}`);
      return prometheus.#isReady();
    });
    return prometheus;
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#exited;
  }

  /**
   * The series that a query gives at a moment (seconds since 1970; now where none is given). Throws where the query fails, or
   * warns.
   */
  async query(expr: string, at?: number): Promise<Sample[]> {
    const body = new URLSearchParams({ query: expr, ...(at === undefined ? {} : { time: String(at) }) });
    const answer = await fetch(`${this.#url}/api/v1/query`, { method: "POST", body });
    const told = (await answer.json()) as {
      status: string;
      error?: string;
      warnings?: string[];
      data: { resultType: string; result: { metric: Record<string, string>; value: [number, string] }[] };
    };
    if (told.status !== "success" || told.warnings !== undefined)
      throw new Error(`${expr}: ${told.error ?? told.warnings}`);
    if (told.data.resultType !== "vector") throw new Error(`${expr}: a ${told.data.resultType}`);
    return told.data.result.map(({ metric, value }) => ({ labels: metric, value: Number(value[1]) }));
  }

  /** The only value of a query. Throws where it has none, or several. */
  async figure(expr: string, at?: number): Promise<number> {
    const [sample, ...others] = await this.query(expr, at);
    if (sample === undefined || others.length > 0) throw new Error(`${expr}: not one series`);
    return sample.value;
  }

  async rules(): Promise<RuleState[]> {
    const told = (await (await fetch(`${this.#url}/api/v1/rules`)).json()) as {
      data: { groups: { rules: RuleState[] }[] };
    };
    return told.data.groups.flatMap(({ rules }) => rules);
  }

  /**
   * Waits until everything that has happened by now has been scraped and has gone through every rule.
   * Nothing may happen meanwhile.
   */
  async caughtUp(): Promise<Standstill> {
    const now = (): number => Date.now() / 1000;
    const isAfter = async (expr: string, moment: number): Promise<boolean> =>
      (await this.query(`min(timestamp(${expr})) > ${moment}`)).length > 0;
    const happened = now();
    await until("it is scraped", () => isAfter("sluice_build_info", happened));
    // A rule over a rule may be one evaluation later.
    for (let times = 0; times < 2; times++) {
      const scraped = now();
      await until("the rules have seen it", () => isAfter("sluice:errors:ratio_rate5m", scraped));
    }
    return { began: happened, seen: now() };
  }

  async #isReady(): Promise<boolean> {
    return fetch(`${this.#url}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    );
  }
}

/** The configuration that is shipped, with shorter intervals and another target. */
function configure(folder: string, target: string): string {
  const { rule_files, scrape_configs } = prometheusConfig();
  for (const file of rule_files) copyFileSync(PROMETHEUS_FOLDER + file, join(folder, file));
  const config = {
    global: { scrape_interval: "1s", evaluation_interval: "1s" },
    rule_files,
    scrape_configs: scrape_configs.map((scrape) => ({
      ...scrape,
      static_configs: [{ targets: [new URL(target).host] }],
    })),
  };
  const path = join(folder, "prometheus.yml");
  writeFileSync(path, stringify(config));
  return path;
}
