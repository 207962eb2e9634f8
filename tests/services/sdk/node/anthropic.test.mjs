// Anthropic's official Node SDK as a client; run by test_node_sdks.py, against the gateway and against the simulator.
import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic from "@anthropic-ai/sdk";

const direct = process.env.GATEWAY_IS_PROVIDER === "1";
const options = { baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0, timeout: 20_000 };
const client = new Anthropic(options);
const QUESTION = [{ role: "user", content: "How many days do I have to return a laptop?" }];
const tools = [{ name: "weather", input_schema: { type: "object", properties: { city: { type: "string" } } } }];
const ANSWER = "Fourteen days, says the handbook.";
const body = (model, more = {}) => ({ model, max_tokens: 50, messages: QUESTION, ...more });

for (const provider of direct ? [""] : ["", "anthropic-", "bedrock-"]) {
  test(`a message of ${provider}plain`, async () => {
    const { data, request_id } = await client.messages.create(body(`${provider}plain`)).withResponse();
    assert.deepEqual(data.content.map(({ type, text }) => [type, text]), [["text", ANSWER]]);
    assert.equal(data.stop_reason, "end_turn");
    assert.deepEqual([data.usage.input_tokens, data.usage.cache_read_input_tokens, data.usage.output_tokens], [8, 3, 7]);
    assert.match(request_id, /^req_/);
  });

  test(`a message of ${provider}plain streamed`, async () => {
    const message = await client.messages.stream(body(`${provider}plain`)).finalMessage();
    assert.equal(message.content[0].text, ANSWER);
    assert.deepEqual([message.usage.input_tokens, message.usage.output_tokens], [8, 7]);
  });

  test(`parallel tool calls of ${provider}tools through the SDK's accumulator`, async () => {
    const messages = [{ role: "user", content: "The weather in two cities?" }];
    const asked = body(`${provider}tools`, { messages, tools });
    for (const message of [await client.messages.stream(asked).finalMessage(), await client.messages.create(asked)]) {
      assert.equal(message.stop_reason, "tool_use");
      assert.deepEqual(
        message.content.map(({ type, id, name, input }) => [type, id, name, input]),
        [
          ["tool_use", "call_a", "weather", { city: "Bern" }],
          ["tool_use", "call_b", "weather", { city: "Oslo" }],
        ],
      );
    }
  });

  test(`an image reaches ${provider}images`, async () => {
    const source = { type: "base64", media_type: "image/png", data: "iVBORw0KGgo=" };
    const messages = [{ role: "user", content: [{ type: "image", source }] }];
    const message = await client.messages.create(body(`${provider}images`, { messages }));
    assert.match(message.content[0].text, /^image\/png 8 bytes /);
  });

  test(`errors of ${provider || "the provider"} are the SDK's own`, async () => {
    await assert.rejects(client.messages.create(body(`${provider}rate-limited`)), (error) => {
      assert.ok(error instanceof Anthropic.RateLimitError);
      assert.ok(Number(error.headers.get("retry-after")) <= 17);
      return error.error.error.type === "rate_limit_error";
    });
    await assert.rejects(client.messages.create(body(`${provider}broken`)), Anthropic.InternalServerError);
    await assert.rejects(client.messages.create(body(`${provider}strict`)), Anthropic.BadRequestError);
    await assert.rejects(client.messages.create(body(`${provider}silent`), { timeout: 200 }), Anthropic.APIConnectionTimeoutError);
  });

  test(`an error within a stream of ${provider}midway is raised, not swallowed`, async () => {
    let text = "";
    await assert.rejects(async () => {
      const stream = await client.messages.create(body(`${provider}midway`, { stream: true }));
      for await (const event of stream) text += event.delta?.text ?? "";
    }, Anthropic.APIError);
    assert.equal(text, "Fourteen days,");
  });

  test(`tokens of ${provider}plain are counted`, async () => {
    const counted = await client.messages.countTokens({ model: `${provider}plain`, messages: QUESTION });
    assert.ok(counted.input_tokens > 0);
  });
}

test("a stranger is turned away", async () => {
  const stranger = new Anthropic({ ...options, apiKey: "sk-nonsense" });
  await assert.rejects(stranger.messages.create(body("plain")), Anthropic.AuthenticationError);
});
