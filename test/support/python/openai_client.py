"""Does with the official `openai` package what it is told, one JSON task a line on standard input, and answers each with one
JSON line: what came, and what was raised. `python openai_client.py sync|async`"""

import asyncio
import json
import sys

import openai


def error_of(raised: Exception) -> dict:
    return {
        "class": type(raised).__name__,
        "status": getattr(raised, "status_code", None),
        "code": getattr(raised, "code", None),
        "type": getattr(raised, "type", None),
        "message": str(raised),
        "body": getattr(raised, "body", None),
        "request_id": getattr(raised, "request_id", None),
    }


def text_of(chunk) -> str:
    if not chunk.choices:
        return ""
    choice = chunk.choices[0]
    return (choice.delta.content if hasattr(choice, "delta") else choice.text) or ""


def options_of(task: dict) -> dict:
    return {"base_url": task["base_url"], "api_key": "unused", "max_retries": task.get("max_retries", 0)}


class Answer:
    """What is told of one task. The text that came before an error is kept."""

    def __init__(self) -> None:
        self.text = ""
        self.chunks: list = []
        self.more: dict = {}

    def take(self, chunk) -> None:
        self.text += text_of(chunk)
        self.chunks.append(chunk.model_dump(mode="json", exclude_unset=True))

    def event(self, event) -> None:
        if event.type == "content.delta":
            self.text += event.delta
        self.more.setdefault("events", [])
        if event.type not in self.more["events"]:
            self.more["events"].append(event.type)

    def final(self, completion) -> None:
        self.more["final"] = completion.choices[0].message.content
        self.more["finish"] = completion.choices[0].finish_reason

    def whole(self, raw, value) -> None:
        self.more["headers"] = {name.lower(): text for name, text in raw.headers.items()}
        self.more["value"] = value.model_dump(mode="json", exclude_unset=True)

    def line(self, error) -> str:
        return json.dumps({"text": self.text, "chunks": self.chunks, "error": error, **self.more})


def resource(client, what: str):
    return {
        "chat": client.chat.completions,
        "completions": client.completions,
        "embeddings": client.embeddings,
    }[what]


def run(task: dict, answer: Answer) -> None:
    with openai.OpenAI(**options_of(task)) as client:
        what, how, body = task["what"], task["how"], task.get("body", {})
        if what == "models":
            answer.more["value"] = [model.id for model in client.models.list()]
        elif how == "helper":
            with client.chat.completions.stream(**body) as stream:
                for event in stream:
                    answer.event(event)
                answer.final(stream.get_final_completion())
        elif how == "stream":
            with resource(client, what).create(**body, stream=True) as stream:
                for chunk in stream:
                    answer.take(chunk)
                    if len(answer.chunks) == task.get("leave_after"):
                        break
        else:
            raw = resource(client, what).with_raw_response.create(**body)
            answer.whole(raw, raw.parse())


async def run_async(task: dict, answer: Answer) -> None:
    async with openai.AsyncOpenAI(**options_of(task)) as client:
        what, how, body = task["what"], task["how"], task.get("body", {})
        if what == "models":
            answer.more["value"] = [model.id async for model in client.models.list()]
        elif how == "helper":
            async with client.chat.completions.stream(**body) as stream:
                async for event in stream:
                    answer.event(event)
                answer.final(await stream.get_final_completion())
        elif how == "stream":
            async with await resource(client, what).create(**body, stream=True) as stream:
                async for chunk in stream:
                    answer.take(chunk)
                    if len(answer.chunks) == task.get("leave_after"):
                        break
        else:
            raw = await resource(client, what).with_raw_response.create(**body)
            answer.whole(raw, raw.parse())


def main(mode: str) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        answer = Answer()
        error = None
        try:
            if mode == "async":
                asyncio.run(run_async(task, answer))
            else:
                run(task, answer)
        except Exception as raised:  # Whatever it is, the test shall see it.
            error = error_of(raised)
        print(answer.line(error), flush=True)


main(sys.argv[1])
