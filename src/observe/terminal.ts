/** How log lines look on a terminal: options for pino-pretty that a worker can be sent, hence a template and no function. */

/** A request's line in one line; what it leaves out is in the JSON that is logged where there is no terminal. */
const MESSAGE = [
  "{msg}",
  "{if outcome} {outcome}{end}",
  "{if code} ({code}){end}",
  "{if model} {model}{end}",
  "{if transport} {transport}{end}",
  "{if upstream} [{upstream}]{end}",
  "{if duration_ms} {duration_ms} ms{end}",
  "{if ttft_ms}, first token {ttft_ms} ms{end}",
  "{if tokens.output}, {tokens.output} tokens{end}",
  "{if generation} {generation}{end}",
].join("");

/** Fields that are told in the message, or that only machines read. */
const UNLISTED = [
  ...[
    "pid",
    "hostname",
    "request_id",
    "generation",
    "model",
    "transport",
    "key",
    "outcome",
    "code",
    "upstream",
  ],
  ...["upstream_status", "attempts", "queue_ms", "upstream_ttft_ms", "ttft_ms", "duration_ms", "tokens"],
  ...["content_events", "bytes"],
];

export const TERMINAL = { ignore: UNLISTED.join(","), messageFormat: MESSAGE, translateTime: "HH:MM:ss.l" };
