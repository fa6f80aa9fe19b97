// Vercel's AI SDK against the gateway: prints `ok <check>` for each, exits 1 at the first failure.
// Environment: BASE_URL, USER_KEY, MODELS (a model of each provider, by commas), THINKERS (those of
// them that think).

import assert from "node:assert/strict";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { generateText, jsonSchema, Output, stepCountIs, streamText, tool } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false;
const { env } = process;
const base = { baseURL: `${env.BASE_URL}/v1`, apiKey: env.USER_KEY };
const openai = createOpenAI(base);
const anthropic = createAnthropic(base);
const WAYS = {
  responses: (model) => openai(model),
  chat: (model) => openai.chat(model),
  messages: (model) => anthropic(model),
};
const THINKERS = env.THINKERS.split(",");
const PDF = Buffer.from("%PDF-1.4\n1 0 obj<</Type /Page>>endobj\n%%EOF").toString("base64");
const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

const weather = (asked) => ({
  get_weather: tool({
    description: "The weather of a city",
    inputSchema: jsonSchema({ ...city, additionalProperties: false }),
    execute: async ({ city }) => {
      asked.push(city);
      return `sunny in ${city}`;
    },
  }),
});

const ask = (model, prompt, options = {}) => ({ model, prompt, maxRetries: 0, ...options });

async function text(model) {
  const { text, finishReason, usage } = await generateText(ask(model, "Hello"));
  assert.ok(text);
  assert.equal(finishReason, "stop");
  assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
}

async function stream(model) {
  const told = streamText(ask(model, "Hello [[sim output=40 chunks=20]]"));
  const pieces = [];
  for await (const piece of told.textStream) pieces.push(piece);
  assert.equal(pieces.length, 20);
  assert.equal(await told.finishReason, "stop");
  assert.equal((await told.usage).outputTokens, 40);
}

async function loop(model) {
  const asked = [];
  const options = { tools: weather(asked), stopWhen: stepCountIs(3) };
  const { text, steps } = await generateText(ask(model, "The weather?", options));
  assert.equal(steps.length, 2);
  assert.deepEqual(asked, ["Paris"]);
  assert.ok(text);
}

async function loop_streamed(model) {
  const asked = [];
  const options = { tools: weather(asked), stopWhen: stepCountIs(3) };
  const told = streamText(ask(model, "The weather, in parallel?", options));
  let text = "";
  for await (const part of told.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") text += part.text;
  }
  assert.deepEqual(asked, ["Paris", "Paris"]);
  assert.ok(text);
}

// The thinking of the first step goes back with the second.
async function thinking(model, name) {
  if (!THINKERS.includes(name)) return;
  const asked = [];
  const prompt = "The weather, in parallel? [[sim reasoning=30]]";
  const providerOptions = {
    openai: { reasoningEffort: "high", reasoningSummary: "auto", forceReasoning: true },
    anthropic: { thinking: { type: "enabled", budgetTokens: 1024 } },
  };
  const options = { tools: weather(asked), stopWhen: stepCountIs(3), providerOptions };
  const { text, steps } = await generateText(ask(model, prompt, options));
  assert.equal(steps.length, 2);
  assert.equal(asked.length, 2);
  assert.ok(text);
}

async function document(model) {
  const content = [
    { type: "text", text: "What is it?" },
    { type: "file", data: PDF, mediaType: "application/pdf", filename: "a.pdf" },
  ];
  const { text } = await generateText({ model, maxRetries: 0, messages: [{ role: "user", content }] });
  assert.match(text, /application\/pdf/);
}

async function image(model) {
  const content = [
    { type: "text", text: "What is it?" },
    { type: "image", image: PNG, mediaType: "image/png" },
  ];
  const { text } = await generateText({ model, maxRetries: 0, messages: [{ role: "user", content }] });
  assert.match(text, /image\/png/);
}

async function structured(model) {
  const schema = jsonSchema({ ...city, additionalProperties: false });
  const { output } = await generateText(ask(model, "A city", { output: Output.object({ schema }) }));
  assert.ok(output.city);
}

async function broken(model) {
  let error;
  const told = streamText(
    ask(model, "Hello [[sim chunks=9 error_after=3]]", { onError: (event) => (error = event.error) }),
  );
  const pieces = [];
  for await (const piece of told.textStream) pieces.push(piece);
  assert.equal(pieces.length, 3);
  assert.ok(error, "the break is told");
}

const CHECKS = { text, stream, loop, loop_streamed, thinking, image, document, structured, broken };

for (const name of env.MODELS.split(",")) {
  for (const [way, make] of Object.entries(WAYS)) {
    for (const [what, check] of Object.entries(CHECKS)) {
      try {
        await check(make(name), name);
      } catch (error) {
        console.error(error);
        console.log(`FAILED ${what} ${way} ${name}`);
        process.exit(1);
      }
      console.log(`ok ${what} ${way} ${name}`);
    }
  }
}
