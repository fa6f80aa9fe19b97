// The OpenAI Node SDK against the gateway: prints `ok <check>` for each, exits 1 at the first failure.
// Environment: as in openai_client.py.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { env } = process;
const BASE = env.BASE_URL.replace(/\/+$/, "");
const KEY = env.USER_KEY;
const MODELS = (env.CHAT_MODELS ?? "openai/gpt-4o,xai/grok-4.3").split(",");
const THINKERS = (env.THINKERS ?? "").split(",");
const PDF = Buffer.from("%PDF-1.4\n1 0 obj<</Type /Page>>endobj\n%%EOF").toString("base64");
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const TOOLS = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

const client = ({ key = KEY, base = `${BASE}/v1`, ...options } = {}) =>
  new OpenAI({ apiKey: key, baseURL: base, maxRetries: 0, timeout: 60_000, ...options });
const said = (text) => [{ role: "user", content: text }];
const chat = (model, text = "Hello", { sdk = client(), ...options } = {}) =>
  sdk.chat.completions.create({ model, messages: said(text), ...options });

const collect = async (stream) => {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
};

async function whole(model) {
  const answer = await chat(model);
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.ok(answer.usage.prompt_tokens > 0 && answer.usage.completion_tokens > 0);
}

async function streamed(model) {
  const chunks = await collect(chat(model, "Hello [[sim output=40 chunks=20]]", { stream: true }));
  assert.ok(chunks.every((chunk) => chunk.choices.length > 0 && !chunk.usage));
  const deltas = chunks.map((chunk) => chunk.choices[0].delta.content).filter(Boolean);
  assert.equal(deltas.length, 20);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
}

async function streamed_with_usage(model) {
  const options = { stream: true, stream_options: { include_usage: true } };
  const chunks = await collect(chat(model, "Hello [[sim output=40 chunks=20]]", options));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 40);
}

async function limited(model) {
  const answer = await chat(model, "Hello [[sim output=40]]", { max_completion_tokens: 10 });
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 10);
}

const results = (calls) =>
  calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "sunny" }));

async function tools(model) {
  const messages = said("The weather, in parallel?");
  const ask = () => client().chat.completions.create({ model, messages, tools: TOOLS });
  const first = (await ask()).choices[0];
  assert.equal(first.finish_reason, "tool_calls");
  const calls = first.message.tool_calls;
  assert.equal(calls.length, 2);
  assert.ok(calls.every((call) => JSON.parse(call.function.arguments).city));
  messages.push(first.message, ...results(calls));
  const second = (await ask()).choices[0];
  assert.equal(second.finish_reason, "stop");
  assert.ok(second.message.content);
}

async function tools_streamed(model) {
  const messages = said("The weather?");
  const ask = () => client().chat.completions.stream({ model, messages, tools: TOOLS });
  const first = (await ask().finalChatCompletion()).choices[0];
  assert.equal(first.finish_reason, "tool_calls");
  const calls = first.message.tool_calls;
  assert.ok(JSON.parse(calls[0].function.arguments).city);
  messages.push({ role: "assistant", content: null, tool_calls: calls }, ...results(calls));
  assert.ok((await ask().finalChatCompletion()).choices[0].message.content);
}

async function thinking(model) {
  if (!THINKERS.includes(model)) return;
  const messages = said("The weather, in parallel? [[sim reasoning=30]]");
  const options = { model, messages, tools: TOOLS, reasoning_effort: "high" };
  const first = await client().chat.completions.stream(options).finalChatCompletion();
  const { message } = first.choices[0];
  assert.equal(message.tool_calls.length, 2);
  messages.push(message, ...results(message.tool_calls));
  assert.ok((await client().chat.completions.create(options)).choices[0].message.content);
}

async function responses(model) {
  const answer = await client().responses.create({ model, input: "Hello" });
  assert.equal(answer.status, "completed");
  assert.ok(answer.output_text);
  const input = "Hello [[sim output=40 chunks=20]]";
  const stream = client().responses.stream({ model, input });
  const pieces = (await collect(stream)).filter((e) => e.type === "response.output_text.delta");
  assert.equal(pieces.length, 20);
  assert.equal((await stream.finalResponse()).usage.output_tokens, 40);
}

async function image(model) {
  const parts = [
    { type: "text", text: "What is it?" },
    { type: "image_url", image_url: { url: `data:image/png;base64,${PNG}` } },
  ];
  const messages = [{ role: "user", content: parts }];
  const answer = await client().chat.completions.create({ model, messages });
  assert.match(answer.choices[0].message.content, /image\/png/);
}

async function document(model) {
  const file = { filename: "a.pdf", file_data: `data:application/pdf;base64,${PDF}` };
  const parts = [{ type: "text", text: "What is it?" }, { type: "file", file }];
  const messages = [{ role: "user", content: parts }];
  const answer = await client().chat.completions.create({ model, messages });
  assert.match(answer.choices[0].message.content, /application\/pdf/);
}

async function structured(model) {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const form = { type: "json_schema", json_schema: { name: "place", schema } };
  const answer = await chat(model, "Hello", { response_format: form });
  assert.ok(JSON.parse(answer.choices[0].message.content).city);
}

async function broken_stream(model) {
  const came = [];
  const read = async () => {
    const text = "Hello [[sim chunks=9 error_after=3]]";
    for await (const chunk of await chat(model, text, { stream: true })) came.push(chunk);
  };
  await assert.rejects(read, OpenAI.APIError);
  assert.ok(came.length > 0);
}

async function cut_stream(model) {
  const text = "Hello [[sim chunks=9 cut_after=3]]";
  // The gateway says APIError, a bare provider breaks the connection.
  await assert.rejects(collect(chat(model, text, { stream: true })));
}

async function base_urls() {
  for (const base of [BASE, `${BASE}/`, `${BASE}/v1`, `${BASE}/v1/`, `${BASE}/v1/v1`]) {
    const answer = await chat(MODELS[0], "Hello", { sdk: client({ base }) });
    assert.ok(answer.choices[0].message.content, base);
  }
}

async function key_headers() {
  for (const name of ["X-User-Key", "x-api-key"]) {
    const sdk = client({ defaultHeaders: { Authorization: null, [name]: KEY } });
    assert.ok((await chat(MODELS[0], "Hello", { sdk })).choices[0].message.content, name);
  }
}

async function models() {
  const listed = (await collect(client().models.list())).map((model) => model.id);
  assert.ok(MODELS.every((model) => listed.includes(model)), listed.join());
  assert.equal((await client().models.retrieve(MODELS[0])).id, MODELS[0]);
}

async function raises(kind, status, type, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.status, status);
    if (type) assert.deepEqual([error.type, error.code], [type, String(status)]);
    return true;
  });
}

const error_400 = () =>
  raises(OpenAI.BadRequestError, 400, "invalid_request", () =>
    chat(MODELS[0], "Hello", { messages: "not a list" }),
  );
const error_401_missing = () =>
  raises(OpenAI.AuthenticationError, 401, "missing_api_key", () =>
    chat(MODELS[0], "Hello", { sdk: client({ defaultHeaders: { Authorization: null } }) }),
  );
const error_401_invalid = () =>
  raises(OpenAI.AuthenticationError, 401, "invalid_user_key", () =>
    chat(MODELS[0], "Hello", { sdk: client({ key: "oc_sk_wrong" }) }),
  );
const error_402 = () =>
  raises(OpenAI.APIError, 402, "insufficient_credits", () =>
    chat(MODELS[0], "Hello", { sdk: client({ key: env.BROKE_KEY }) }),
  );
const error_403 = () =>
  raises(OpenAI.PermissionDeniedError, 403, "model_not_allowed", () => chat(env.FORBIDDEN_MODEL));
const error_404 = () =>
  raises(OpenAI.NotFoundError, 404, "model_not_found", () => chat(env.MISSING_MODEL));
const error_429 = () =>
  raises(OpenAI.RateLimitError, 429, "rate_limited", async () => {
    const sdk = client({ key: env.LIMITED_KEY });
    for (let asked = 0; asked < 20; asked += 1) await chat(MODELS[0], "Hello", { sdk });
  });
const error_502 = () =>
  raises(OpenAI.InternalServerError, 502, "upstream_error", () =>
    chat(env.FAILING_MODEL, "Hello [[sim status=500]]"),
  );

async function statuses() {
  const kinds = [
    [400, OpenAI.BadRequestError],
    [401, OpenAI.AuthenticationError],
    [402, OpenAI.APIError],
    [403, OpenAI.PermissionDeniedError],
    [404, OpenAI.NotFoundError],
    [429, OpenAI.RateLimitError],
    [502, OpenAI.InternalServerError],
  ];
  for (const [status, kind] of kinds) {
    await raises(kind, status, null, () => chat(MODELS[0], `Hello [[sim status=${status}]]`));
  }
}

const EACH = { whole, streamed, streamed_with_usage, limited, tools, tools_streamed, structured };
Object.assign(EACH, { thinking, responses, image, document, broken_stream, cut_stream });
const ONCE = { base_urls, key_headers, models, error_400, error_401_missing, error_401_invalid };
Object.assign(ONCE, { error_402, error_403, error_404, error_429, error_502 });

async function main() {
  const plan = (env.PLAN ?? "").split(",").filter(Boolean);
  if (plan.length > 0) ONCE.statuses = statuses;
  const unknown = plan.filter((word) => !(word in EACH) && !(word in ONCE));
  assert.deepEqual(unknown, [], "no such checks");
  const entries = MODELS.flatMap((model) =>
    Object.entries(EACH).map(([word, check]) => [word, `${word} ${model}`, () => check(model)]),
  );
  entries.push(...Object.entries(ONCE).map(([word, check]) => [word, word, check]));
  for (const [word, name, check] of entries) {
    if (plan.length > 0 && !plan.includes(word)) continue;
    try {
      await check();
    } catch (error) {
      console.error(error);
      console.log(`FAILED ${name}`);
      process.exit(1);
    }
    console.log(`ok ${name}`);
  }
}

await main();
