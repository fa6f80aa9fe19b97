// Reads translated answers with the official Node SDKs and with Vercel's; prints `read <count>`.
// The argument is a folder with a `list.json`: file, path of the route, stream, recording.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import Anthropic from "@anthropic-ai/sdk";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

globalThis.AI_SDK_LOG_WARNINGS = false;
const folder = process.argv[2];
const said = [{ role: "user", content: "Hello" }];

// Answers every call with one file.
const playing = ({ file, stream }) => {
  const kind = stream ? "text/event-stream" : "application/json";
  return async () =>
    new Response(readFileSync(join(folder, file)), { headers: { "content-type": kind } });
};

const openai = (row) =>
  new OpenAI({ apiKey: "x", baseURL: "http://x/v1", maxRetries: 0, fetch: playing(row) });

async function chat(row) {
  const ask = { model: "m", messages: said };
  const sdk = openai(row).chat.completions;
  const answer = await (row.stream ? sdk.stream(ask).finalChatCompletion() : sdk.create(ask));
  for (const choice of answer.choices) {
    assert.ok(choice.finish_reason);
    if (choice.finish_reason === "length") continue; // Its arguments may be cut.
    for (const call of choice.message.tool_calls ?? []) JSON.parse(call.function.arguments);
  }
}

async function messages(row) {
  const options = { apiKey: "x", baseURL: "http://x", maxRetries: 0, fetch: playing(row) };
  const sdk = new Anthropic(options).messages;
  const ask = { model: "m", max_tokens: 1000, messages: said };
  const answer = await (row.stream ? sdk.stream(ask).finalMessage() : sdk.create(ask));
  assert.ok(answer.stop_reason && answer.usage.output_tokens >= 0);
}

async function responses(row) {
  const ask = { model: "m", input: said };
  const sdk = openai(row).responses;
  const answer = await (row.stream ? sdk.stream(ask).finalResponse() : sdk.create(ask));
  assert.ok(["completed", "incomplete"].includes(answer.status));
  for (const item of answer.output) {
    assert.ok(item.id);
    const whole = answer.status === "completed";
    if (whole && item.type === "function_call") JSON.parse(item.arguments);
  }
}

const vercelModels = {
  "/v1/chat/completions": (fetch) => createOpenAI({ apiKey: "x", fetch }).chat("m"),
  "/v1/messages": (fetch) => createAnthropic({ apiKey: "x", fetch })("m"),
  "/v1/responses": (fetch) => createOpenAI({ apiKey: "x", fetch })("m"),
};

async function vercel(row) {
  const ask = { model: vercelModels[row.path](playing(row)), messages: said, maxRetries: 0 };
  if (!row.stream) {
    assert.ok((await generateText(ask)).finishReason);
    return;
  }
  const result = streamText({ ...ask, onError: ({ error }) => { throw error; } });
  for await (const part of result.fullStream) if (part.type === "error") throw part.error;
  assert.notEqual(await result.finishReason, "error");
}

const readers = { "/v1/chat/completions": chat, "/v1/messages": messages, "/v1/responses": responses };
const rows = JSON.parse(readFileSync(join(folder, "list.json"), "utf8"));
for (const row of rows) {
  try {
    await readers[row.path](row);
    await vercel(row);
  } catch (error) {
    console.error(JSON.stringify(row), error);
    process.exit(1);
  }
}
console.log("read", rows.length);
