#!/bin/sh
# The gateway with nothing but curl: bare text, OpenAI's stream, and a generation that is cut off and resumed.
set -eu

url=${SLUICE_URL:-http://127.0.0.1:8000}
request='"messages":[{"role":"user","content":"Tell me of locks."}]'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# -N: as it comes. A refusal is shown, and is an error.
ask() {
  path=$1
  shift
  curl -sSN --fail-with-body "$url$path" -H 'content-type: application/json' "$@"
}
fail() {
  echo "chat.sh: $1" >&2
  exit 1
}

echo '# Bare text'
# It has no place for an error: a failure in its middle resets the connection, curl says so, and `set -e` ends this.
ask /chat -H 'accept: text/plain' -d '{"prompt":"Tell me of locks."}'

printf '\n\n# The stream of OpenAI\n'
ask /v1/chat/completions -d "{$request,\"stream\":true}" | tee "$folder/stream"
# The last line of a whole answer, and of no other.
grep -qx 'data: \[DONE\]' "$folder/stream" || fail 'the stream did not end well'

echo '# A generation, cut off after its tenth event'
started=$(ask /v1/generations -d "{\"request\":{$request}}") || fail "$started"
generation=$(echo "$started" | sed 's/^{"id":"\([^"]*\)".*/\1/')
events=/v1/generations/$generation/events
# sed quits at the blank line that ends the event; curl, with nobody to write to, fails without a word.
curl -sN "$url$events" | sed '/^id: 10$/,/^$/{/^$/q;}' | tee "$folder/first"

echo '# Resumed'
last=$(sed -n 's/^id: //p' "$folder/first" | tail -n 1)
ask "$events" -H "Last-Event-ID: ${last:-0}" | tee "$folder/rest"
ending=$(sed -n '/^event: end$/{n;p;}' "$folder/first" "$folder/rest")
case $ending in
'data: {"status":"completed"'* | 'data: {"status":"incomplete"'*) ;;
*) fail 'the generation did not end well' ;;
esac
