/** What stands under `ops/`, as its tests read it: rules, alerts, and the dashboard's queries. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

export const PROMETHEUS_FOLDER = fileURLToPath(new URL("../../ops/prometheus/", import.meta.url));
const GRAFANA_FOLDER = fileURLToPath(new URL("../../ops/grafana/", import.meta.url));

export interface Rule {
  /** Of a recording rule. */
  readonly record?: string;
  /** Of an alert. */
  readonly alert?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface RuleTest {
  readonly name: string;
  readonly alert_rule_test?: readonly {
    readonly alertname: string;
    readonly exp_alerts?: readonly object[];
  }[];
}

export interface ScrapeConfig {
  readonly job_name: string;
  readonly static_configs: readonly { readonly targets: readonly string[] }[];
}

export interface PrometheusConfig {
  readonly global: { readonly scrape_interval: string; readonly evaluation_interval: string };
  readonly rule_files: readonly string[];
  readonly scrape_configs: readonly ScrapeConfig[];
}

const read = (file: string): unknown => parse(readFileSync(file, "utf8"));
const rulesIn = (name: string): Rule[] =>
  (read(PROMETHEUS_FOLDER + name) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules);

export const recordingRules = (): Rule[] => rulesIn("rules.yml");
export const alerts = (): Rule[] => rulesIn("alerts.yml");
export const alertTests = (): RuleTest[] =>
  (read(`${PROMETHEUS_FOLDER}alerts.test.yml`) as { tests: RuleTest[] }).tests;
export const prometheusConfig = (): PrometheusConfig =>
  read(`${PROMETHEUS_FOLDER}prometheus.yml`) as PrometheusConfig;
export const provisioned = (path: string): unknown => read(`${GRAFANA_FOLDER}provisioning/${path}`);

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit?: string;
      readonly thresholds?: { readonly steps: readonly { readonly value: number | null }[] };
    };
  };
  readonly targets?: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly legendFormat: string;
    readonly datasource: { readonly uid: string };
  }[];
}

export interface Dashboard {
  readonly uid: string;
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly definition?: string }[] };
  readonly annotations: { readonly list: readonly { readonly name: string; readonly expr?: string }[] };
}

export const dashboard = (): Dashboard =>
  JSON.parse(readFileSync(`${GRAFANA_FOLDER}sluice.json`, "utf8")) as Dashboard;

export interface Query {
  /** Where it stands: the panel's title and the query's legend. */
  readonly place: string;
  readonly expr: string;
}

export const panelQueries = (): Query[] =>
  dashboard().panels.flatMap(({ title, targets = [] }) =>
    targets.map(({ legendFormat, expr }) => ({ place: `${title}: ${legendFormat}`, expr })),
  );

/** The dashboard's annotations; each is a comparison. */
export const annotationQueries = (): Query[] =>
  dashboard().annotations.list.flatMap(({ name, expr }) =>
    expr === undefined ? [] : [{ place: name, expr }],
  );

/** A query as Grafana sends it: `window` in place of `$__rate_interval`, the others as given, or everything. */
export function withVariables(
  expr: string,
  window: string,
  chosen: Readonly<Record<string, string>> = {},
): string {
  return expr.replace(/\$([a-z_]\w*)/g, (_, name: string) =>
    name === "__rate_interval" ? window : (chosen[name] ?? ".*"),
  );
}

const COMPARISON = /^([\s\S]+?)\s*(?:==|!=|>=|<=|>|<)\s*[\d.]+$/;

/** What an alert compares: the left side of each of its comparisons. Throws where a part of it is none. */
export function leftSides(expr: string): string[] {
  return expr.split(/\s+(?:and|or|unless)\s+/).map((part) => {
    const left = COMPARISON.exec(part.trim())?.[1];
    if (left === undefined) throw new Error(`no comparison with a number: ${part}`);
    return left;
  });
}

const KEYWORDS = new Set(["and", "or", "unless", "bool", "offset"]);

/** The names of metrics in a query: every word that is no function, keyword, label, string or duration. */
export function metricNames(expr: string): string[] {
  const bare = expr
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(/\{[^}]*\}|\[[^\]]*\]/g, " ")
    .replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/g, " ");
  const words = bare.match(/(?<![\w.])[a-zA-Z_:][\w:]*\b(?!\s*\()/g) ?? [];
  return [...new Set(words)].filter((word) => !KEYWORDS.has(word));
}
