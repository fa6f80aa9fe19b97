"""Reads translated answers with the official Python SDKs; prints `read <count>`.

The argument is a folder with a `list.json`: file, path of the route, stream, recording.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anthropic
import openai

FOLDER = Path(sys.argv[1])
SAID = [{"role": "user", "content": "Hello"}]


class Answers(BaseHTTPRequestHandler):
    """Serves each file under its own base URL, whatever is asked there."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        name = self.path.split("/")[1]
        body = (FOLDER / name).read_bytes()
        kind = "text/event-stream" if name.endswith(".sse") else "application/json"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def chat(base, stream):
    sdk = openai.OpenAI(api_key="x", base_url=f"{base}/v1", max_retries=0)
    ask = {"model": "m", "messages": SAID}
    if not stream:
        answer = sdk.chat.completions.create(**ask)
    else:
        with sdk.chat.completions.stream(**ask) as events:
            for _ in events:
                pass
            try:
                answer = events.get_final_completion()
            except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
                return  # This helper's word for an answer that ended early.
    assert answer.id and answer.model and answer.usage.total_tokens >= 0
    for choice in answer.choices:
        assert choice.finish_reason, choice
        for call in choice.message.tool_calls or []:
            assert call.id and call.function.name
            json.loads(call.function.arguments)


def messages(base, stream):
    sdk = anthropic.Anthropic(api_key="x", base_url=base, max_retries=0)
    ask = {"model": "m", "messages": SAID, "max_tokens": 1000}
    if not stream:
        answer = sdk.messages.create(**ask)
    else:
        with sdk.messages.stream(**ask) as events:
            for _ in events:
                pass
            answer = events.get_final_message()
    assert answer.id and answer.role == "assistant" and answer.stop_reason
    assert answer.usage.input_tokens >= 0 and answer.usage.output_tokens >= 0
    for block in answer.content:
        assert block.type != "tool_use" or (block.id and isinstance(block.input, dict)), block


def responses(base, stream):
    sdk = openai.OpenAI(api_key="x", base_url=f"{base}/v1", max_retries=0)
    ask = {"model": "m", "input": SAID}
    if not stream:
        answer = sdk.responses.create(**ask)
    else:
        with sdk.responses.stream(**ask) as events:
            for event in events:
                if event.type == "response.incomplete":
                    return  # The helper knows no answer that ended early.
            answer = events.get_final_response()
    assert answer.id and answer.status in ("completed", "incomplete"), answer.status
    assert answer.usage.total_tokens >= 0
    for item in answer.output:
        assert item.id
        if item.type == "function_call":
            assert item.call_id
            json.loads(item.arguments)


READERS = {"/v1/chat/completions": chat, "/v1/messages": messages, "/v1/responses": responses}


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listed = json.loads((FOLDER / "list.json").read_text())
    for row in listed:
        base = f"http://127.0.0.1:{server.server_port}/{row['file']}"
        try:
            READERS[row["path"]](base, row["stream"])
        except Exception as error:
            raise SystemExit(f"{row}: {type(error).__name__}: {error}") from error
    print("read", len(listed))


main()
