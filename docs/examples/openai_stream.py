"""An answer as it comes, with the official `openai` package: python docs/examples/openai_stream.py ["Tell me of locks."]"""

import os
import sys

import openai

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:8000")
prompt = sys.argv[1] if len(sys.argv) > 1 else "Tell me of locks."
client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")

try:
    stream = client.chat.completions.create(
        model=os.environ.get("SLUICE_MODEL", "sluice-demo"),
        messages=[{"role": "user", "content": prompt}],
        stream=True,
    )
    for chunk in stream:
        if chunk.choices:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()
except openai.OpenAIError as error:
    # A refusal, or the error event of an answer that failed in its middle.
    sys.exit(f"\nThe answer is not whole: {error}")
