"""An answer of /chat as it comes, with the `requests` package: python docs/examples/chat_requests.py ["Tell me of locks."]"""

import os
import sys

import requests

url = os.environ.get("SLUICE_URL", "http://127.0.0.1:8000")
prompt = sys.argv[1] if len(sys.argv) > 1 else "Tell me of locks."

try:
    with requests.post(
        f"{url}/chat",
        json={"prompt": prompt},
        headers={"accept": "text/plain"},  # without it, the answer is Server-Sent Events
        stream=True,
        timeout=(10, 330),  # seconds; the gateway's own SLUICE_FIRST_TOKEN_TIMEOUT_MS comes first
    ) as response:
        if not response.ok:
            sys.exit(response.json()["error"]["message"])
        for text in response.iter_content(chunk_size=None, decode_unicode=True):
            print(text, end="", flush=True)
        print()
except requests.RequestException as error:
    # Bare text has no place for an error: a failure in its middle breaks the connection.
    sys.exit(f"\nThe answer is not whole: {error}")
