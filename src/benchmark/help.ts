/** `sluice bench --help`. */
export const HELP = `sluice bench [options] URL: measures an OpenAI-compatible server, through Sluice or not.

  URL is a base URL such as http://127.0.0.1:8080 or https://host/api/v1; without a path, /v1 is added.

The server
  --model NAME           default: the first that the server lists
  --api-key KEY          default: OPENAI_API_KEY; never printed
  --transport NAME       sse (default): POST /v1/chat/completions, any server
                         events: POST /v1/generations, then GET its /events; Sluice only
                         websocket: sluice.v1; Sluice only
  --compare URL2         the same load to a second server too, interleaved; both columns and their ratio
  --compare-transport NAME
                         of the second server (default: as --transport)

The load
  --num-prompts N        requests, to each server (default 100)
  --concurrency N        at most so many at once (default: no limit)
  --rate R               requests a second, arriving as a Poisson process (default inf: all at once)
  --warmup N             requests before the measurement, to each server (default 0)
  --seed N               of arrivals and prompts (default 0)
  --request-timeout S    seconds until a request has failed (default 600)

The requests
  --prompt TEXT          the same for all
  --input-words N        so many words at random, each request its own
  --max-tokens N         default 128
  --ignore-eos           asks the server to go on to --max-tokens
  --extra-body JSON      members added to every request

The report
  --percentiles LIST     default 99; such as 50,90,95,99
  --goodput LIMIT...     ttft:MS tpot:MS e2el:MS: counts the requests that keep all of them
  --json FILE            the figures and each request's own
  --svg DIR              ttft.svg, itl.svg, timeline.svg
  --help

Ctrl-C ends the run and reports what there is. Exit codes: 0, 1 if a server completed nothing, 2 for wrong arguments, 130
after Ctrl-C.
`;
