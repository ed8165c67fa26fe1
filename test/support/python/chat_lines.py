"""Reads /chat as a front end does that has nothing but the standard library: line by line, or the bare text as it comes.
`python chat_lines.py URL events|text PROMPT`; answers with one JSON line."""

import http.client
import json
import sys
import urllib.error
import urllib.request


def lines(response) -> dict:
    found = {"text": "", "names": [], "ids": [], "last": None}
    name = None
    for raw in response:
        line = raw.decode("utf-8").rstrip("\n")
        if line.startswith("id: "):
            found["ids"].append(line[4:])
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            found["last"] = json.loads(line[6:])
            if name is None:
                found["text"] += found["last"]["text"]
            else:
                found["names"].append(name)
    return found


def bare(response) -> dict:
    # Bytes are joined before they are decoded: a read may end within a character.
    parts, error = [], None
    try:
        while part := response.read1():
            parts.append(part)
    except (http.client.IncompleteRead, ConnectionError) as raised:
        error = type(raised).__name__
    return {"text": b"".join(parts).decode("utf-8"), "reads": len(parts), "error": error}


def main(url: str, mode: str, prompt: str) -> None:
    accept = "text/plain" if mode == "text" else "text/event-stream"
    request = urllib.request.Request(
        url + "/chat",
        data=json.dumps({"prompt": prompt}).encode(),
        headers={"content-type": "application/json", "accept": accept},
    )
    try:
        with urllib.request.urlopen(request) as response:
            found = bare(response) if mode == "text" else lines(response)
            found["type"] = response.headers["content-type"]
            found["status"] = response.status
    except urllib.error.HTTPError as raised:
        found = {"status": raised.code, "last": json.loads(raised.read())}
    print(json.dumps(found))


main(*sys.argv[1:4])
