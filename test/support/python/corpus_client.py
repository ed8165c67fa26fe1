"""Streams with the official `openai` package (sync) what it is told, one JSON task a line on standard input, and answers each
with one JSON line that carries the task's id. A client for each server is kept: to make one takes longer than most answers."""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import openai

AT_ONCE = 4
out = threading.Lock()
clients: dict = {}


def client_of(task: dict) -> openai.OpenAI:
    url = task["base_url"]
    if url not in clients:
        clients[url] = openai.OpenAI(base_url=url, api_key="unused", max_retries=0)
    return clients[url].with_options(max_retries=task["max_retries"])


def error_of(raised: Exception) -> dict:
    status = getattr(raised, "status_code", None)
    return {"kind": type(raised).__name__, "status": status, "said": getattr(raised, "body", None)}


def read(task: dict) -> dict:
    chunks: list = []
    error = None
    try:
        client = client_of(task)
        resource = client.chat.completions if task["what"] == "chat" else client.completions
        with resource.create(**task["body"], stream=True) as stream:
            for chunk in stream:
                # Some send lists where a text is declared: they are passed on, and not warned of.
                chunks.append(chunk.model_dump(mode="json", exclude_unset=True, warnings=False))
    except Exception as raised:
        error = error_of(raised)
    return {"id": task["id"], "chunks": chunks, "error": error}


def answer(task: dict) -> None:
    line = json.dumps(read(task))
    with out:
        print(line, flush=True)


with ThreadPoolExecutor(AT_ONCE) as pool:
    for line in sys.stdin:
        task = json.loads(line)
        # Made here, in one thread, so that there is one client for each server.
        client_of(task)
        pool.submit(answer, task)
