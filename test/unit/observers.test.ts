import { expect, it } from "vitest";
import { Fault } from "../../src/core/errors.ts";
import type { EndFacts, Observer, RequestFacts } from "../../src/core/ports.ts";
import { silence } from "../../src/core/silence.ts";
import { Observers, type Watcher } from "../../src/observe/observers.ts";
import { Recorder } from "../support/core.ts";

const request: RequestFacts = { model: "m", transport: "sse", key: "none", generation: "gen_1" };
const ended: EndFacts = {
  ...request,
  outcome: "completed",
  streamed: true,
  timing: { queue_ms: 0, duration_ms: 1 },
  contentEvents: 1,
  attempts: 1,
  bytes: 1,
};

const ARGUMENTS: { readonly [Name in keyof Observer]: Parameters<Observer[Name]> } = {
  refused: [request, "queue_full", new Fault("queue_full")],
  accepted: [request, { endpoint: "/v1/chat/completions", stream: true, choices: 1 }],
  admitted: [request, 1],
  attempted: [request, "main"],
  attemptEnded: [request, { status: "completed" }],
  upstreamAnswered: ["main", "200"],
  upstreamRetried: ["main", "upstream_error"],
  upstreamHealth: ["main", "failing"],
  firstContent: [request, 2],
  content: [request, 3],
  delivered: [request, "websocket", 4, 5],
  unread: [6],
  ended: [ended],
  readerJoined: ["sse"],
  readerLeft: ["sse", "streaming"],
  resumed: ["websocket", "resumed"],
  slowReader: ["sse"],
  connectionOpened: [],
  connectionClosed: [],
};

const NAMES = Object.keys(ARGUMENTS) as (keyof Observer)[];
/** What comes once a token or once a reader. */
const METRICS_ONLY = [
  ...["upstreamAnswered", "upstreamRetried", "content", "unread", "readerJoined", "readerLeft", "resumed"],
  ...["slowReader", "connectionOpened", "connectionClosed"],
];

function callAll(observer: Observer): void {
  for (const name of NAMES) (observer[name] as (...args: readonly unknown[]) => unknown)(...ARGUMENTS[name]);
}

it("metrics are told everything, watchers what concerns whole requests, and all with the same words", () => {
  expect(NAMES.toSorted()).toEqual(Object.keys(silence).toSorted());
  const metrics = new Recorder();
  const watchers = [new Recorder(), new Recorder()];
  callAll(
    new Observers(
      metrics.observer,
      watchers.map(({ observer }) => observer),
    ),
  );
  expect(metrics.calls).toEqual(NAMES.map((name) => ({ name, args: ARGUMENTS[name] })));
  for (const { calls } of watchers) {
    const told = NAMES.filter((name) => !METRICS_ONLY.includes(name));
    expect(calls).toEqual(told.map((name) => ({ name, args: ARGUMENTS[name] })));
  }
});

it("a watcher may care for little, and the one that has headers for the upstream gives them", () => {
  const headers = { traceparent: "there" };
  const giving: Watcher = { attempted: () => headers };
  expect(() => callAll(new Observers(silence, [{}]))).not.toThrow();
  expect(new Observers(silence, [{}]).attempted(request, "main")).toBeUndefined();
  for (const watchers of [
    [giving, {}],
    [{}, giving],
  ])
    expect(new Observers(silence, watchers).attempted(request, "main")).toBe(headers);
});
