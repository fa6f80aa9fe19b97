"""The OpenAI Python SDK against the gateway: prints `ok <check>` for each, exits 1 at the first failure.

Environment: BASE_URL (origin), USER_KEY, BROKE_KEY, LIMITED_KEY, FORBIDDEN_MODEL, MISSING_MODEL,
FAILING_MODEL; CHAT_MODELS (comma-separated, has a default); PLAN (comma-separated checks, none = all
of the gateway's; `statuses` is for a simulator behind no gateway).
"""

import base64
import json
import os
import sys
import traceback

import openai

BASE = os.environ["BASE_URL"].rstrip("/")
KEY = os.environ["USER_KEY"]
MODELS = os.environ.get("CHAT_MODELS", "openai/gpt-4o,xai/grok-4.3").split(",")
NO_KEY = {"Authorization": openai.Omit()}
THINKERS = os.environ.get("THINKERS", "").split(",")
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type /Page>>endobj\n%%EOF").decode()
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
]


def client(key=KEY, base=BASE + "/v1", **options):
    return openai.OpenAI(api_key=key, base_url=base, max_retries=0, timeout=60, **options)


def said(text):
    return [{"role": "user", "content": text}]


def chat(model, text="Hello", key=KEY, **options):
    return client(key).chat.completions.create(model=model, messages=said(text), **options)


def whole(model):
    answer = chat(model)
    assert answer.object == "chat.completion", answer
    assert answer.choices[0].message.role == "assistant", answer
    assert answer.choices[0].message.content, answer
    assert answer.choices[0].finish_reason == "stop", answer
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0, answer


def streamed(model):
    chunks = list(chat(model, "Hello [[sim output=40 chunks=20]]", stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks), "usage was not asked for"
    deltas = [chunk.choices[0].delta.content for chunk in chunks]
    assert len([delta for delta in deltas if delta]) == 20, deltas
    assert chunks[-1].choices[0].finish_reason == "stop", chunks[-1]


def streamed_with_usage(model):
    usage = {"include_usage": True}
    chunks = list(chat(model, "Hello [[sim output=40 chunks=20]]", stream=True, stream_options=usage))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 40, chunks[-1]


def limited(model):
    answer = chat(model, "Hello [[sim output=40]]", max_completion_tokens=10)
    assert answer.choices[0].finish_reason == "length", answer
    assert answer.usage.completion_tokens == 10, answer


def tools(model):
    messages = said("The weather, in parallel?")
    ask = client().chat.completions.create
    first = ask(model=model, messages=messages, tools=TOOLS).choices[0]
    assert first.finish_reason == "tool_calls" and len(first.message.tool_calls) == 2, first
    messages.append(first.message.to_dict())
    for call in first.message.tool_calls:
        assert call.function.name == "get_weather" and json.loads(call.function.arguments)["city"]
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    second = ask(model=model, messages=messages, tools=TOOLS).choices[0]
    assert second.finish_reason == "stop" and second.message.content, second


def tools_streamed(model):
    messages = said("The weather?")
    with client().chat.completions.stream(model=model, messages=messages, tools=TOOLS) as stream:
        for _ in stream:
            pass
        first = stream.get_final_completion().choices[0]
    assert first.finish_reason == "tool_calls", first
    call = first.message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"], call
    function = {"name": call.function.name, "arguments": call.function.arguments}
    calls = [{"id": call.id, "type": "function", "function": function}]
    messages.append({"role": "assistant", "content": None, "tool_calls": calls})
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    second = client().chat.completions.create(model=model, messages=messages, tools=TOOLS, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in second)
    assert text, "no text after the tool's result"


def thinking(model):
    if model not in THINKERS:
        return
    messages = said("The weather, in parallel? [[sim reasoning=30]]")
    options = {"model": model, "tools": TOOLS, "reasoning_effort": "high"}
    first = client().chat.completions.create(messages=messages, **options)
    assert first.usage.total_tokens - first.usage.prompt_tokens > 30, first.usage
    message = first.choices[0].message
    messages.append(message.to_dict())
    for call in message.tool_calls:
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    second = client().chat.completions.create(messages=messages, **options)
    assert second.choices[0].message.content, second


def responses(model):
    answer = client().responses.create(model=model, input="Hello")
    assert answer.status == "completed" and answer.output_text, answer
    text = "Hello [[sim output=40 chunks=20]]"
    with client().responses.stream(model=model, input=text) as stream:
        pieces = [event for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert len(pieces) == 20 and final.usage.output_tokens == 40, final


def image(model):
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    messages = [{"role": "user", "content": parts}]
    answer = client().chat.completions.create(model=model, messages=messages)
    assert "image/png" in answer.choices[0].message.content, answer


def document(model):
    file = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "file", "file": file}]
    messages = [{"role": "user", "content": parts}]
    answer = client().chat.completions.create(model=model, messages=messages)
    assert "application/pdf" in answer.choices[0].message.content, answer


def structured(model):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = chat(model, response_format=form)
    assert json.loads(answer.choices[0].message.content)["city"], answer


def broken_stream(model):
    came = []
    try:
        for chunk in chat(model, "Hello [[sim chunks=9 error_after=3]]", stream=True):
            came.append(chunk)
    except openai.APIError as error:
        assert came and not isinstance(error, openai.APIStatusError), repr(error)
        return
    raise AssertionError(f"a broken stream ended cleanly after {len(came)} chunks")


def cut_stream(model):
    try:
        for _ in chat(model, "Hello [[sim chunks=9 cut_after=3]]", stream=True):
            pass
    except Exception:  # the gateway says APIError, a bare provider breaks the connection
        return
    raise AssertionError("a cut stream ended cleanly")


def base_urls():
    for base in (BASE, BASE + "/", BASE + "/v1", BASE + "/v1/", BASE + "/v1/v1"):
        sdk = client(base=base)
        answer = sdk.chat.completions.create(model=MODELS[0], messages=said("Hello"))
        assert answer.choices[0].message.content, base


def key_headers():
    for name in ("X-User-Key", "x-api-key"):
        # This SDK wants the omission said with each request.
        answer = chat(MODELS[0], extra_headers={**NO_KEY, name: KEY})
        assert answer.choices[0].message.content, name


def models():
    listed = {model.id for model in client().models.list()}
    assert set(MODELS) <= listed, listed
    assert client().models.retrieve(MODELS[0]).id == MODELS[0]


def raises(kind, status, of_type, call):
    try:
        call()
    except openai.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        assert error.status_code == status, error
        assert of_type is None or (error.type, error.code) == (of_type, str(status)), error.body
        return
    raise AssertionError(f"no {kind.__name__}")


def error_400():
    bad = {"messages": "not a list"}
    call = lambda: chat(MODELS[0], extra_body=bad)
    raises(openai.BadRequestError, 400, "invalid_request", call)


def error_401_missing():
    call = lambda: chat(MODELS[0], extra_headers=NO_KEY)
    raises(openai.AuthenticationError, 401, "missing_api_key", call)


def error_401_invalid():
    call = lambda: chat(MODELS[0], key="oc_sk_wrong")
    raises(openai.AuthenticationError, 401, "invalid_user_key", call)


def error_402():
    call = lambda: chat(MODELS[0], key=os.environ["BROKE_KEY"])
    raises(openai.APIStatusError, 402, "insufficient_credits", call)


def error_403():
    call = lambda: chat(os.environ["FORBIDDEN_MODEL"])
    raises(openai.PermissionDeniedError, 403, "model_not_allowed", call)


def error_404():
    call = lambda: chat(os.environ["MISSING_MODEL"])
    raises(openai.NotFoundError, 404, "model_not_found", call)


def error_429():
    def call():
        for _ in range(20):
            chat(MODELS[0], key=os.environ["LIMITED_KEY"])

    raises(openai.RateLimitError, 429, "rate_limited", call)


def error_502():
    call = lambda: chat(os.environ["FAILING_MODEL"], "Hello [[sim status=500]]")
    raises(openai.InternalServerError, 502, "upstream_error", call)


def statuses():
    kinds = {
        400: openai.BadRequestError,
        401: openai.AuthenticationError,
        402: openai.APIStatusError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        502: openai.InternalServerError,
    }
    for status, kind in kinds.items():
        raises(kind, status, None, lambda: chat(MODELS[0], f"Hello [[sim status={status}]]"))


EACH = [whole, streamed, streamed_with_usage, limited, tools, tools_streamed, structured]
EACH += [thinking, responses, image, document, broken_stream, cut_stream]
ONCE = [base_urls, key_headers, models, error_400, error_401_missing, error_401_invalid, error_402]
ONCE += [error_403, error_404, error_429, error_502]


def run(name, check, *arguments):
    try:
        check(*arguments)
    except Exception:
        traceback.print_exc()
        print(f"FAILED {name}", flush=True)
        sys.exit(1)
    print(f"ok {name}", flush=True)


def main():
    named = [(f"{check.__name__} {model}", check, (model,)) for model in MODELS for check in EACH]
    named += [(check.__name__, check, ()) for check in ONCE]
    plan = [word for word in os.environ.get("PLAN", "").split(",") if word]
    if plan:
        named.append(("statuses", statuses, ()))
        unknown = set(plan) - {check.__name__ for _, check, _ in named}
        assert not unknown, f"no such checks: {unknown}"
        named = [entry for entry in named if entry[1].__name__ in plan]
    for name, check, arguments in named:
        run(name, check, *arguments)


main()
