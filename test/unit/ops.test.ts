/** What operators install beside a gateway: Prometheus' own tools judge it, and it names only what there is. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { startGateway } from "../support/gateway.ts";
import {
  alerts,
  alertTests,
  annotationQueries,
  dashboard,
  leftSides,
  metricNames,
  type Panel,
  PROMETHEUS_FOLDER,
  panelQueries,
  prometheusConfig,
  provisioned,
  type Query,
  recordingRules,
  withVariables,
} from "../support/ops.ts";
import { post, streamed } from "../support/requests.ts";

const hasPromtool = spawnSync("promtool", ["--version"]).error === undefined;
const promtest = test.skipIf(!hasPromtool);
const named = (what: string): string => `${what}${hasPromtool ? "" : " (skipped: no promtool)"}`;

/** What it says on standard error; empty where it is content. */
function promtool(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync("promtool", args, {
    cwd: PROMETHEUS_FOLDER,
    encoding: "utf8",
  });
  return status === 0 ? stderr : `${status}: ${stdout}${stderr}`;
}

let scrape = "";
beforeAll(async () => {
  const gateway = await startGateway();
  try {
    const body = streamed({ tokens: 3 }, { stream_options: { include_usage: true } });
    await (await post(`${gateway.url}/v1/chat/completions`, body)).text();
    scrape = await (await fetch(`${gateway.url}/metrics`)).text();
  } finally {
    await gateway.close();
  }
});

/** The names of the series that a scrape and the rules make. */
function knownNames(): Set<string> {
  const types = [...scrape.matchAll(/^# TYPE (\S+) (\w+)$/gm)];
  const scraped = types.flatMap(([, name = "", type]) =>
    type === "histogram" ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  );
  return new Set(["up", ...scraped, ...recordingRules().map(({ record = "" }) => record)]);
}

/** The edges of a histogram in the scrape, in seconds. */
const edgesOf = (histogram: string): number[] =>
  [...scrape.matchAll(new RegExp(`^${histogram}_bucket\\{.*?le="([\\d.]+)"`, "gm"))].map(([, le]) =>
    Number(le),
  );

const allQueries = (): Query[] => [
  ...panelQueries(),
  ...annotationQueries(),
  ...[...recordingRules(), ...alerts()].map(({ record, alert, expr }) => ({
    place: record ?? alert ?? "",
    expr,
  })),
];

describe("Prometheus", () => {
  promtest(named("promtool takes the configuration and the rules"), () => {
    expect(promtool("check", "config", "prometheus.yml")).toBe("");
    expect(promtool("check", "rules", "rules.yml", "alerts.yml")).toBe("");
  });

  // Six hours of every rule: seconds, and more where others work too.
  promtest(named("the alerts fire when they should, and only then"), { timeout: 300_000 }, () => {
    expect(promtool("test", "rules", "alerts.test.yml")).toBe("");
  });

  test("every alert has a case in which it fires, and one in which it does not", () => {
    const names = alerts().map(({ alert }) => alert);
    const cases = alertTests().map(({ alert_rule_test = [] }) => alert_rule_test);
    const isFiring = (checks: (typeof cases)[number]): boolean =>
      checks.some(({ exp_alerts = [] }) => exp_alerts.length > 0);
    const having = (wanted: boolean) =>
      new Set(
        cases
          .filter((checks) => isFiring(checks) === wanted)
          .flatMap((checks) => checks.map((each) => each.alertname)),
      );
    expect([...having(true)]).toEqual(names);
    expect([...having(false)]).toEqual(names);
  });

  test("every alert says how bad it is, what it means, and where to read on", () => {
    for (const { alert = "", labels, annotations } of alerts()) {
      expect(["critical", "warning", "info"]).toContain(labels?.["severity"]);
      expect(Object.keys(annotations ?? {}).sort()).toEqual(["description", "runbook_url", "summary"]);
      expect(annotations?.["runbook_url"]).toBe(`docs/OPERATIONS.md#${alert.toLowerCase()}`);
    }
  });

  test("the page of operations has a section for every alert", () => {
    const page = readFileSync(new URL("../../docs/OPERATIONS.md", import.meta.url), "utf8");
    const headings = [...page.matchAll(/^#+ (.+)$/gm)].map(([, heading]) => heading);
    expect(headings).toEqual(expect.arrayContaining(alerts().map(({ alert }) => alert)));
  });

  test("it loads both files, and scrapes the job that the queries look for", () => {
    const { rule_files, scrape_configs } = prometheusConfig();
    expect(rule_files.every((file) => existsSync(PROMETHEUS_FOLDER + file))).toBe(true);
    expect(rule_files).toEqual(["rules.yml", "alerts.yml"]);
    const jobs = allQueries().flatMap(({ expr }) =>
      [...expr.matchAll(/job="([^"]*)"/g)].map(([, job]) => job),
    );
    expect(new Set(jobs)).toEqual(new Set(scrape_configs.map(({ job_name }) => job_name)));
  });
});

describe("queries", () => {
  test("name only metrics that a scrape or a rule makes", () => {
    const known = knownNames();
    for (const { place, expr } of allQueries()) {
      const names = metricNames(expr);
      expect(names.length, place).toBeGreaterThan(0);
      expect(
        names.filter((name) => !known.has(name)),
        place,
      ).toEqual([]);
    }
  });

  const folder = mkdtempSync(join(tmpdir(), "sluice-ops-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  promtest(named("of the dashboard can be parsed"), () => {
    const rules = [...panelQueries(), ...annotationQueries()].map(({ expr }, index) => ({
      record: `query_${index}`,
      expr: withVariables(expr, "1m"),
    }));
    const file = join(folder, "queries.yml");
    writeFileSync(file, stringify({ groups: [{ name: "dashboard", rules }] }));
    expect(promtool("check", "rules", file)).toBe("");
    writeFileSync(
      file,
      stringify({ groups: [{ name: "broken", rules: [{ record: "query", expr: "sum(rate(up)" }] }] }),
    );
    expect(promtool("check", "rules", file)).not.toBe("");
  });
});

describe("thresholds of durations stand on edges of their histograms", () => {
  /** The scraped histogram behind a query, through the rule that records it. */
  function histogramOf(expr: string): string | undefined {
    const names = metricNames(expr);
    const recorded = recordingRules().find(({ record = "" }) => names.includes(record));
    const all = [...names, ...(recorded === undefined ? [] : metricNames(recorded.expr))];
    return all.find((name) => name.endsWith("_bucket"))?.replace(/_bucket$/, "");
  }

  test("of the alerts", () => {
    const thresholds = alerts().flatMap(({ alert = "", expr }) => {
      const histogram = histogramOf(leftSides(expr)[0] ?? "");
      const value = Number(/[\d.]+$/.exec(expr)?.[0]);
      return histogram?.endsWith("_seconds") && !expr.includes("ratio") ? [{ alert, histogram, value }] : [];
    });
    expect(thresholds.map(({ alert }) => alert)).toContain("SluiceTimeToFirstTokenHigh");
    for (const { histogram, value, alert } of thresholds) expect(edgesOf(histogram), alert).toContain(value);
  });

  test("of the shares that the rules record", () => {
    const edges = recordingRules().flatMap(({ expr }) =>
      [...expr.matchAll(/(\w+)_bucket\{le=~"(\d+)/g)].map(
        ([, histogram = "", edge]) => [histogram, edge] as const,
      ),
    );
    expect(edges.length).toBeGreaterThan(0);
    for (const [histogram, edge] of edges) expect(edgesOf(histogram)).toContain(Number(edge));
  });

  test("of the dashboard", () => {
    const checked: string[] = [];
    for (const { title, fieldConfig, targets = [] } of dashboard().panels) {
      const histogram = targets.map(({ expr }) => histogramOf(expr)).find((name) => name !== undefined);
      if (fieldConfig?.defaults.unit !== "s" || histogram === undefined) continue;
      for (const { value } of fieldConfig.defaults.thresholds?.steps ?? []) {
        if (value === null) continue;
        expect(edgesOf(histogram), title).toContain(value);
        checked.push(title);
      }
    }
    expect(checked).toContain("Time to first token");
  });
});

describe("Grafana", () => {
  const overlap = (a: Panel["gridPos"], b: Panel["gridPos"]): boolean =>
    a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

  test("the dashboard's panels have ids of their own and places of their own", () => {
    const { panels, schemaVersion } = dashboard();
    expect(schemaVersion).toBeGreaterThanOrEqual(39);
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const [index, { title, gridPos }] of panels.entries()) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      const crossed = panels.slice(index + 1).filter((other) => overlap(gridPos, other.gridPos));
      expect(
        crossed.map((other) => other.title),
        title,
      ).toEqual([]);
    }
  });

  test("every panel asks the chosen data source, and only with variables that there are", () => {
    const { panels, templating } = dashboard();
    const variables = templating.list.map(({ name }) => name);
    expect(variables).toEqual(["datasource", "model", "transport"]);
    for (const { type, title, description, datasource, targets = [] } of panels) {
      if (type === "row") continue;
      expect(description, title).toMatch(/\.$/);
      expect(targets.length, title).toBeGreaterThan(0);
      for (const uid of [datasource?.uid, ...targets.map((target) => target.datasource.uid)])
        expect(uid).toBe("$".concat("{datasource}"));
    }
    const used = panelQueries().flatMap(({ expr }) => [...expr.matchAll(/\$(\w+)/g)].map(([, name]) => name));
    expect(new Set(used)).toEqual(new Set(["__rate_interval", "model", "transport"]));
  });

  test("what is provisioned is where the dashboard and Prometheus are", () => {
    expect(provisioned("datasources/prometheus.yaml")).toMatchObject({
      apiVersion: 1,
      datasources: [{ type: "prometheus", url: "http://prometheus:9090", isDefault: true }],
    });
    const { datasources } = provisioned("datasources/prometheus.yaml") as {
      datasources: { jsonData: { timeInterval: string } }[];
    };
    expect(datasources[0]?.jsonData.timeInterval).toBe(prometheusConfig().global.scrape_interval);
    expect(provisioned("dashboards/sluice.yaml")).toMatchObject({
      apiVersion: 1,
      providers: [{ type: "file", options: { path: "/var/lib/grafana/dashboards" } }],
    });
  });
});
