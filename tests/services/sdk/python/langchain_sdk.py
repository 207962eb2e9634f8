"""langchain-openai as a client of the gateway; run by test_python_sdks.py in an environment of its own."""

import base64

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

TEXT = "Fourteen days, says the handbook."
QUESTION = "How many days do I have to return a laptop?"
PNG = base64.b64encode(bytes.fromhex("89504e470d0a1a0a")).decode()


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}."


@pytest.fixture
def chat(url: str, key: str):
    def make(model: str, **more) -> ChatOpenAI:
        options = {"max_retries": 0, "timeout": 20, **more}
        return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=key, **options)

    return make


def test_a_chat(chat, provider):
    answer = chat(f"{provider}plain").invoke(QUESTION)
    assert answer.content == TEXT
    assert answer.response_metadata["finish_reason"] == "stop"
    usage = answer.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (11, 7, 18)
    assert usage["input_token_details"]["cache_read"] == 3


def test_a_chat_streamed(chat, provider):
    whole = None
    for piece in chat(f"{provider}plain", stream_usage=True).stream(QUESTION):
        whole = piece if whole is None else whole + piece
    assert whole.content == TEXT
    assert whole.usage_metadata["total_tokens"] == 18


def test_tools_are_called_and_their_results_read(chat, provider):
    model = chat(f"{provider}tools").bind_tools([weather])
    question = HumanMessage("The weather in two cities?")
    plain = model.invoke([question])
    streamed = None
    for piece in model.stream([question]):
        streamed = piece if streamed is None else streamed + piece
    for answer in (plain, streamed):
        assert [(call["id"], call["name"], call["args"]) for call in answer.tool_calls] == [
            ("call_a", "weather", {"city": "Bern"}),
            ("call_b", "weather", {"city": "Oslo"}),
        ]
    results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in plain.tool_calls]
    assert model.invoke([question, plain, *results]).content == "It is sunny in Bern."


def test_structured_output_by_a_tool(chat, provider):
    class Weather(BaseModel):
        """The weather's place."""

        city: str

    structured = chat(f"{provider}tools").with_structured_output(Weather, method="function_calling")
    with pytest.raises(Exception, match="weather"):  # the model calls a tool that this chain does not know
        structured.invoke("The weather in Bern?")
    weather_of = type("weather", (Weather,), {"__doc__": "The weather's place."})
    named = chat(f"{provider}tools").with_structured_output(weather_of, method="function_calling")
    assert named.invoke("The weather in Bern?").city == "Bern"


def test_an_image_reaches_the_model(chat, provider):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    assert chat(f"{provider}images").invoke([HumanMessage(parts)]).content.startswith("image/png 8 bytes ")


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("rate-limited", openai.RateLimitError),
        ("broken", openai.InternalServerError),
        ("overloaded", openai.InternalServerError),
        ("strict", openai.BadRequestError),
    ],
)
def test_errors_are_the_sdks_own(chat, provider, model, error):
    with pytest.raises(error):
        chat(f"{provider}{model}").invoke(QUESTION)


def test_errors_of_the_gateway(chat):
    with pytest.raises(openai.NotFoundError):
        chat("nope").invoke(QUESTION)
    with pytest.raises(openai.APITimeoutError):
        chat("silent", timeout=0.2).invoke(QUESTION)


@pytest.mark.parametrize("model", ["midway", "cut"])
def test_an_error_within_a_stream_is_raised_not_swallowed(chat, provider, model):
    words = []
    with pytest.raises(openai.APIError):
        for piece in chat(f"{provider}{model}").stream(QUESTION):
            words.append(piece.content)
    assert "".join(words) == "Fourteen days,"


def test_embeddings(url, key):
    embeddings = OpenAIEmbeddings(
        model="all-minilm-l6-v2", base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False, max_retries=0
    )
    vectors = embeddings.embed_documents(["return a laptop", "the moon"])
    assert [len(vector) for vector in vectors] == [384, 384]
    assert embeddings.embed_query("the moon") == pytest.approx(vectors[1], abs=1e-5)
