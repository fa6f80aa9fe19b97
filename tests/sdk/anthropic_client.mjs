// The Anthropic Node SDK against the gateway: prints `ok <check>` for each, exits 1 at the first failure.
// Environment: as in anthropic_client.py.

import assert from "node:assert/strict";
import * as sdk from "@anthropic-ai/sdk";

const { Anthropic } = sdk;
const { env } = process;
const BASE = env.BASE_URL.replace(/\/+$/, "");
const KEY = env.USER_KEY;
const MODELS = (env.MESSAGES_MODELS ?? "anthropic/claude-sonnet-4-6").split(",");
const NO_KEY = { Authorization: null, "X-Api-Key": null };
const THINKERS = (env.THINKERS ?? "anthropic/claude-sonnet-4-6").split(",");
const PDF = Buffer.from("%PDF-1.4\n1 0 obj<</Type /Page>>endobj\n%%EOF").toString("base64");
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const TOOLS = [
  {
    name: "get_weather",
    description: "The weather of a city",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
];

const client = ({ key = KEY, base = BASE, ...options } = {}) =>
  new Anthropic({ apiKey: key, baseURL: base, maxRetries: 0, timeout: 60_000, ...options });
const said = (text) => [{ role: "user", content: text }];
const create = (model, text = "Hello", { by = client(), ...options } = {}) =>
  by.messages.create({ model, messages: said(text), max_tokens: 1024, ...options });

const collect = async (stream) => {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
};

async function whole(model) {
  const answer = await create(model);
  assert.deepEqual([answer.type, answer.role, answer.stop_reason], ["message", "assistant", "end_turn"]);
  assert.ok(answer.content[0].type === "text" && answer.content[0].text);
  assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
}

async function streamed(model) {
  const text = "Hello [[sim output=40 chunks=20]]";
  const stream = client().messages.stream({ model, messages: said(text), max_tokens: 1024 });
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  const answer = await stream.finalMessage();
  assert.equal(pieces.length, 20);
  assert.equal(answer.content[0].text, pieces.join(""));
  assert.deepEqual([answer.stop_reason, answer.usage.output_tokens], ["end_turn", 40]);
}

async function streamed_events(model) {
  const events = await collect(create(model, "Hello", { stream: true }));
  assert.deepEqual([events[0].type, events.at(-1).type], ["message_start", "message_stop"]);
}

async function thinking(model) {
  if (!THINKERS.includes(model)) return;
  const budget = { type: "enabled", budget_tokens: 1024 };
  const text = "Hello [[sim output=20 reasoning=30]]";
  const answer = await create(model, text, { max_tokens: 4096, thinking: budget });
  assert.deepEqual(answer.content.map((block) => block.type), ["thinking", "text"]);
  assert.ok(answer.content[0].signature);
  assert.equal(answer.usage.output_tokens, 50);
}

async function thinking_loop(model) {
  if (!THINKERS.includes(model)) return;
  const messages = said("The weather, in parallel? [[sim reasoning=30]]");
  const thinking = { type: "enabled", budget_tokens: 1024 };
  const options = { model, messages, max_tokens: 4096, thinking, tools: TOOLS };
  const first = await client().messages.create(options);
  assert.equal(first.stop_reason, "tool_use");
  assert.equal(answered(messages, first), 2);
  const second = await client().messages.stream(options).finalMessage();
  assert.ok(second.content.at(-1).text);
}

async function image(model) {
  const source = { type: "base64", media_type: "image/png", data: PNG };
  const content = [{ type: "text", text: "What is it?" }, { type: "image", source }];
  const messages = [{ role: "user", content }];
  const answer = await client().messages.create({ model, max_tokens: 100, messages });
  assert.match(answer.content.at(-1).text, /image\/png/);
}

async function document(model) {
  const source = { type: "base64", media_type: "application/pdf", data: PDF };
  const content = [{ type: "text", text: "What is it?" }, { type: "document", source }];
  const messages = [{ role: "user", content }];
  const answer = await client().messages.create({ model, max_tokens: 100, messages });
  assert.match(answer.content.at(-1).text, /application\/pdf/);
}

async function limited(model) {
  const answer = await create(model, "Hello [[sim output=40]]", { max_tokens: 10 });
  assert.deepEqual([answer.stop_reason, answer.usage.output_tokens], ["max_tokens", 10]);
}

function answered(messages, first) {
  const uses = first.content.filter((block) => block.type === "tool_use");
  assert.ok(uses.every((use) => use.name === "get_weather" && use.input.city));
  const results = uses.map((use) => ({ type: "tool_result", tool_use_id: use.id, content: "sunny" }));
  messages.push({ role: "assistant", content: first.content }, { role: "user", content: results });
  return uses.length;
}

async function tools(model) {
  const messages = said("The weather, in parallel?");
  const ask = () => client().messages.create({ model, messages, max_tokens: 1024, tools: TOOLS });
  const first = await ask();
  assert.equal(first.stop_reason, "tool_use");
  assert.equal(answered(messages, first), 2);
  const second = await ask();
  assert.equal(second.stop_reason, "end_turn");
  assert.ok(second.content[0].text);
}

async function tools_streamed(model) {
  const messages = said("The weather?");
  const ask = () => client().messages.stream({ model, messages, max_tokens: 1024, tools: TOOLS });
  const first = await ask().finalMessage();
  assert.equal(first.stop_reason, "tool_use");
  assert.equal(answered(messages, first), 1);
  assert.ok(await ask().finalText());
}

async function structured(model) {
  const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
  const form = { format: { type: "json_schema", schema } };
  const answer = await create(model, "Hello", { output_config: form });
  assert.ok(JSON.parse(answer.content[0].text).city);
}

async function count_tokens(model) {
  const counted = await client().messages.countTokens({ model, messages: said("Hello") });
  assert.ok(counted.input_tokens > 0);
}

async function broken_stream(model) {
  const came = [];
  const read = async () => {
    const text = "Hello [[sim chunks=9 error_after=3]]";
    for await (const event of await create(model, text, { stream: true })) came.push(event.type);
  };
  await assert.rejects(read, sdk.APIError);
  assert.ok(came.length > 0 && !came.includes("message_stop"));
}

async function cut_stream(model) {
  const text = "Hello [[sim chunks=9 cut_after=3]]";
  // The gateway says APIError, a bare provider breaks the connection.
  await assert.rejects(collect(create(model, text, { stream: true })));
}

async function base_urls() {
  for (const base of [BASE, `${BASE}/`, `${BASE}/v1`, `${BASE}/v1/`]) {
    const answer = await create(MODELS[0], "Hello", { by: client({ base }) });
    assert.ok(answer.content[0].text, base);
  }
}

async function key_headers() {
  for (const name of ["X-User-Key", "X-Api-Key"]) {
    const by = client({ defaultHeaders: { ...NO_KEY, [name]: KEY } });
    assert.ok((await create(MODELS[0], "Hello", { by })).content[0].text, name);
  }
}

async function models() {
  const listed = (await collect(client().models.list())).map((model) => model.id);
  assert.ok(MODELS.every((model) => listed.includes(model)), listed.join());
}

async function raises(kind, status, type, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.constructor, kind, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.status, status);
    assert.equal(error.error.type, "error");
    if (type) assert.equal(error.error.error.type, type);
    return true;
  });
}

const error_400 = () =>
  raises(sdk.BadRequestError, 400, "invalid_request", () =>
    create(MODELS[0], "Hello", { messages: "not a list" }),
  );
const error_401_missing = () =>
  raises(sdk.AuthenticationError, 401, "missing_api_key", () =>
    create(MODELS[0], "Hello", { by: client({ defaultHeaders: NO_KEY }) }),
  );
const error_401_invalid = () =>
  raises(sdk.AuthenticationError, 401, "invalid_user_key", () =>
    create(MODELS[0], "Hello", { by: client({ key: "oc_sk_wrong" }) }),
  );
const error_402 = () =>
  raises(sdk.PaymentRequiredError, 402, "insufficient_credits", () =>
    create(MODELS[0], "Hello", { by: client({ key: env.BROKE_KEY }) }),
  );
const error_403 = () =>
  raises(sdk.PermissionDeniedError, 403, "model_not_allowed", () => create(env.FORBIDDEN_MODEL));
const error_404 = () =>
  raises(sdk.NotFoundError, 404, "model_not_found", () => create(env.MISSING_MODEL));
const error_429 = () =>
  raises(sdk.RateLimitError, 429, "rate_limited", async () => {
    const by = client({ key: env.LIMITED_KEY });
    for (let asked = 0; asked < 20; asked += 1) await create(MODELS[0], "Hello", { by });
  });
const error_502 = () =>
  raises(sdk.InternalServerError, 502, "upstream_error", () =>
    create(env.FAILING_MODEL, "Hello [[sim status=500]]"),
  );

async function statuses() {
  const kinds = [
    [400, sdk.BadRequestError],
    [401, sdk.AuthenticationError],
    [402, sdk.PaymentRequiredError],
    [403, sdk.PermissionDeniedError],
    [404, sdk.NotFoundError],
    [429, sdk.RateLimitError],
    [502, sdk.InternalServerError],
  ];
  for (const [status, kind] of kinds) {
    await raises(kind, status, null, () => create(MODELS[0], `Hello [[sim status=${status}]]`));
  }
}

const EACH = { whole, streamed, streamed_events, thinking, limited, tools, tools_streamed };
Object.assign(EACH, { thinking_loop, image, document, structured, count_tokens });
Object.assign(EACH, { broken_stream, cut_stream });
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
