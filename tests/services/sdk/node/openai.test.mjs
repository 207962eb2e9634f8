// OpenAI's official Node SDK as a client of the gateway; run by test_node_sdks.py, which gives the address and the key.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const options = { baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0, timeout: 20_000 };
const client = new OpenAI(options);
const messages = [{ role: "user", content: "How many days do I have to return a laptop?" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const ANSWER = "Fourteen days, says the handbook.";
const ask = (model, more = {}) => client.chat.completions.create({ model, messages, ...more });

for (const model of ["plain", "anthropic-plain", "bedrock-plain"]) {
  test(`chat with ${model}`, async () => {
    const { data, response, request_id } = await ask(model).withResponse();
    assert.equal(data.choices[0].message.content, ANSWER);
    assert.equal(data.usage.total_tokens, 18);
    assert.match(request_id, /^req_/);
    assert.equal(response.headers.get("x-slipway-cost-usd-micros"), "98");
  });

  test(`chat with ${model} streamed, with usage`, async () => {
    const chunks = [];
    const stream = await ask(model, { stream: true, stream_options: { include_usage: true } });
    for await (const chunk of stream) chunks.push(chunk);
    assert.equal(chunks[0].choices[0].delta.role, "assistant");
    assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), ANSWER);
    assert.deepEqual(chunks.filter((chunk) => chunk.usage).map((chunk) => chunk.usage.total_tokens), [18]);
  });
}

test("an image reaches the model", async () => {
  const content = [{ type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgo=" } }];
  for (const model of ["images", "anthropic-images", "bedrock-images"]) {
    const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content }] });
    assert.match(answer.choices[0].message.content, /^image\/png 8 bytes /);
  }
});

for (const model of ["plain", "unnumbered", "anthropic-plain", "bedrock-plain"]) {
  test(`parallel tool calls of ${model} through the SDK's accumulator`, async () => {
    const final = await client.chat.completions.stream({ model, messages, tools }).finalChatCompletion();
    const plain = await ask(model, { tools });
    for (const answer of [final, plain]) {
      const calls = answer.choices[0].message.tool_calls;
      assert.deepEqual(
        calls.map((call) => [call.id, call.function.name, call.function.arguments]),
        [
          ["call_a", "weather", '{"city":"Bern"}'],
          ["call_b", "weather", '{"city":"Oslo"}'],
        ],
      );
    }
  });
}

test("the embedded model answers, plain and streamed", async () => {
  const answer = await ask("default");
  assert.equal(answer.model, "extractive");
  let streamed = "";
  for await (const chunk of await ask("default", { stream: true })) streamed += chunk.choices[0].delta.content ?? "";
  assert.equal(streamed, answer.choices[0].message.content);
});

test("embeddings are the same in both encodings", async () => {
  const input = ["return a laptop", "the moon"];
  const packed = await client.embeddings.create({ model: "all-minilm-l6-v2", input });
  const floats = await client.embeddings.create({ model: "all-minilm-l6-v2", input, encoding_format: "float" });
  assert.equal(packed.data[0].embedding.length, 384);
  for (const index of [0, 1])
    assert.deepEqual(packed.data[index].embedding, [...new Float32Array(floats.data[index].embedding)]);
});

test("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.ok(names.includes("extractive") && names.includes("plain"));
  assert.equal((await client.models.retrieve("plain")).owned_by, "openai");
  await assert.rejects(client.models.retrieve("nope"), OpenAI.NotFoundError);
});

test("errors are the SDK's own", async () => {
  const stranger = new OpenAI({ ...options, apiKey: "sk-nonsense" });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  await assert.rejects(ask("nope"), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.match(error.requestID, /^req_/);
    return true;
  });
  await assert.rejects(ask("extractive", { n: 2 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    return error.param === "n";
  });
  await assert.rejects(ask("rate-limited"), (error) => {
    assert.ok(error instanceof OpenAI.RateLimitError);
    return Number(error.headers.get("retry-after")) <= 17;
  });
  await assert.rejects(ask("broken"), OpenAI.InternalServerError);
  await assert.rejects(
    client.chat.completions.create({ model: "silent", messages }, { timeout: 200 }),
    OpenAI.APIConnectionTimeoutError,
  );
});

test("an error within a stream is raised, not swallowed", async () => {
  for (const model of ["midway", "cut", "anthropic-midway", "bedrock-midway"]) {
    let text = "";
    await assert.rejects(async () => {
      for await (const chunk of await ask(model, { stream: true })) text += chunk.choices[0].delta.content ?? "";
    }, OpenAI.APIError);
    assert.equal(text, "Fourteen days,");
  }
});
