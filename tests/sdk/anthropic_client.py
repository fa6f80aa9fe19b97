"""The Anthropic Python SDK against the gateway: prints `ok <check>` for each, exits 1 at the first failure.

Environment: BASE_URL (origin), USER_KEY, BROKE_KEY, LIMITED_KEY, FORBIDDEN_MODEL, MISSING_MODEL,
FAILING_MODEL; MESSAGES_MODELS (comma-separated, has a default); PLAN (comma-separated checks, none =
all of the gateway's; `statuses` is for a simulator behind no gateway).
"""

import base64
import json
import os
import sys
import traceback

import anthropic

BASE = os.environ["BASE_URL"].rstrip("/")
KEY = os.environ["USER_KEY"]
MODELS = os.environ.get("MESSAGES_MODELS", "anthropic/claude-sonnet-4-6").split(",")
NO_KEY = {"Authorization": anthropic.Omit(), "X-Api-Key": anthropic.Omit()}
THINKERS = os.environ.get("THINKERS", "anthropic/claude-sonnet-4-6").split(",")
PDF = base64.b64encode(b"%PDF-1.4\n1 0 obj<</Type /Page>>endobj\n%%EOF").decode()
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = [
    {
        "name": "get_weather",
        "description": "The weather of a city",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    }
]


def client(key=KEY, base=BASE, **options):
    return anthropic.Anthropic(api_key=key, base_url=base, max_retries=0, timeout=60, **options)


def said(text):
    return [{"role": "user", "content": text}]


def create(model, text="Hello", key=KEY, sdk=None, max_tokens=1024, **options):
    sdk = sdk or client(key)
    return sdk.messages.create(model=model, messages=said(text), max_tokens=max_tokens, **options)


def whole(model):
    answer = create(model)
    assert (answer.type, answer.role, answer.stop_reason) == ("message", "assistant", "end_turn")
    assert answer.content[0].type == "text" and answer.content[0].text, answer
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens > 0, answer


def streamed(model):
    text = "Hello [[sim output=40 chunks=20]]"
    sdk = client()
    with sdk.messages.stream(model=model, messages=said(text), max_tokens=1024) as stream:
        pieces = list(stream.text_stream)
        answer = stream.get_final_message()
    assert len(pieces) == 20 and answer.content[0].text == "".join(pieces), pieces
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens == 40, answer


def streamed_events(model):
    kinds = [event.type for event in create(model, stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds


def thinking(model):
    if model not in THINKERS:
        return
    budget = {"type": "enabled", "budget_tokens": 1024}
    text = "Hello [[sim output=20 reasoning=30]]"
    answer = create(model, text, max_tokens=4096, thinking=budget)
    assert [block.type for block in answer.content] == ["thinking", "text"], answer
    assert answer.content[0].signature and answer.usage.output_tokens == 50, answer


def thinking_loop(model):
    if model not in THINKERS:
        return
    messages = said("The weather, in parallel? [[sim reasoning=30]]")
    budget = {"type": "enabled", "budget_tokens": 1024}
    options = {"model": model, "max_tokens": 4096, "thinking": budget, "tools": TOOLS}
    with client().messages.stream(messages=messages, **options) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use", first
    messages.append({"role": "assistant", "content": first.content})
    uses = [block for block in first.content if block.type == "tool_use"]
    assert len(uses) == 2, first
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]
    messages.append({"role": "user", "content": results})
    second = client().messages.create(messages=messages, **options)
    assert second.content[-1].text, second


def image(model):
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    answer = client().messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": parts}]
    )
    assert "image/png" in answer.content[-1].text, answer


def document(model):
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    parts = [{"type": "text", "text": "What is it?"}, {"type": "document", "source": source}]
    answer = client().messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": parts}]
    )
    assert "application/pdf" in answer.content[-1].text, answer


def limited(model):
    answer = create(model, "Hello [[sim output=40]]", max_tokens=10)
    assert answer.stop_reason == "max_tokens" and answer.usage.output_tokens == 10, answer


def answered(messages, first):
    messages.append({"role": "assistant", "content": [b.to_dict() for b in first.content]})
    uses = [block for block in first.content if block.type == "tool_use"]
    assert uses and all(use.name == "get_weather" and use.input["city"] for use in uses), first
    result = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"} for use in uses]
    messages.append({"role": "user", "content": result})
    return len(uses)


def tools(model):
    messages = said("The weather, in parallel?")
    ask = client().messages.create
    first = ask(model=model, messages=messages, max_tokens=1024, tools=TOOLS)
    assert first.stop_reason == "tool_use", first
    assert answered(messages, first) == 2, first
    second = ask(model=model, messages=messages, max_tokens=1024, tools=TOOLS)
    assert second.stop_reason == "end_turn" and second.content[0].text, second


def tools_streamed(model):
    messages = said("The weather?")
    ask = client().messages.stream
    with ask(model=model, messages=messages, max_tokens=1024, tools=TOOLS) as stream:
        first = stream.get_final_message()
    assert first.stop_reason == "tool_use", first
    assert answered(messages, first) == 1, first
    with ask(model=model, messages=messages, max_tokens=1024, tools=TOOLS) as stream:
        assert "".join(stream.text_stream), "no text after the tool's result"


def structured(model):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"format": {"type": "json_schema", "schema": schema}}
    answer = create(model, extra_body={"output_config": form})
    assert json.loads(answer.content[0].text)["city"], answer


def count_tokens(model):
    assert client().messages.count_tokens(model=model, messages=said("Hello")).input_tokens > 0


def broken_stream(model):
    came = []
    try:
        for event in create(model, "Hello [[sim chunks=9 error_after=3]]", stream=True):
            came.append(event.type)
    except anthropic.APIStatusError as error:
        assert "message_stop" not in came and error.status_code == 200, repr(error)
        return
    raise AssertionError(f"a broken stream ended cleanly after {len(came)} events")


def cut_stream(model):
    try:
        for _ in create(model, "Hello [[sim chunks=9 cut_after=3]]", stream=True):
            pass
    except Exception:  # the gateway says APIStatusError, a bare provider breaks the connection
        return
    raise AssertionError("a cut stream ended cleanly")


def base_urls():
    for base in (BASE, BASE + "/", BASE + "/v1", BASE + "/v1/"):
        assert create(MODELS[0], sdk=client(base=base)).content[0].text, base


def key_headers():
    for name in ("X-User-Key", "X-Api-Key"):
        sdk = client(default_headers={**NO_KEY, name: KEY})
        assert create(MODELS[0], sdk=sdk).content[0].text, name


def models():
    listed = {model.id for model in client().models.list()}
    assert set(MODELS) <= listed, listed


def raises(kind, status, of_type, call):
    try:
        call()
    except anthropic.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__} instead of {kind.__name__}: {error}"
        assert error.status_code == status, error
        assert of_type is None or error.body["error"]["type"] == of_type, error.body
        assert error.body["type"] == "error" and error.body["error"]["message"], error.body
        return
    raise AssertionError(f"no {kind.__name__}")


def error_400():
    call = lambda: create(MODELS[0], extra_body={"messages": "not a list"})
    raises(anthropic.BadRequestError, 400, "invalid_request", call)


def error_401_missing():
    call = lambda: create(MODELS[0], sdk=client(default_headers=NO_KEY))
    raises(anthropic.AuthenticationError, 401, "missing_api_key", call)


def error_401_invalid():
    call = lambda: create(MODELS[0], key="oc_sk_wrong")
    raises(anthropic.AuthenticationError, 401, "invalid_user_key", call)


def error_402():
    call = lambda: create(MODELS[0], key=os.environ["BROKE_KEY"])
    raises(anthropic.PaymentRequiredError, 402, "insufficient_credits", call)


def error_403():
    call = lambda: create(os.environ["FORBIDDEN_MODEL"])
    raises(anthropic.PermissionDeniedError, 403, "model_not_allowed", call)


def error_404():
    call = lambda: create(os.environ["MISSING_MODEL"])
    raises(anthropic.NotFoundError, 404, "model_not_found", call)


def error_429():
    def call():
        for _ in range(20):
            create(MODELS[0], key=os.environ["LIMITED_KEY"])

    raises(anthropic.RateLimitError, 429, "rate_limited", call)


def error_502():
    call = lambda: create(os.environ["FAILING_MODEL"], "Hello [[sim status=500]]")
    raises(anthropic.InternalServerError, 502, "upstream_error", call)


def statuses():
    kinds = {
        400: anthropic.BadRequestError,
        401: anthropic.AuthenticationError,
        402: anthropic.PaymentRequiredError,
        403: anthropic.PermissionDeniedError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        502: anthropic.InternalServerError,
    }
    for status, kind in kinds.items():
        raises(kind, status, None, lambda: create(MODELS[0], f"Hello [[sim status={status}]]"))


EACH = [whole, streamed, streamed_events, thinking, limited, tools, tools_streamed, structured]
EACH += [count_tokens, thinking_loop, image, document, broken_stream, cut_stream]
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
