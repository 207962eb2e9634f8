"""Chat over a whole platform: grounded, exact, metered, and honest when there is nothing."""

import json

import httpx
import pytest

from tests.platforms import Platform
from tests.services.processes import QUESTION

ANSWER = "14 days after your last working day"


@pytest.fixture
def client(traced: Platform):
    with httpx.Client(base_url=traced.url, headers=traced.headers(), timeout=60) as client:
        yield client


def events(client: httpx.Client, **body) -> list[tuple[str, dict]]:
    with client.stream("POST", "/v1/chat", json={"stream": True, **body}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream"), answer.read()
        blocks = "".join(answer.iter_text()).strip().split("\n\n")
    return [(block.split("\n")[0][7:], json.loads(block.split("\n")[1][6:])) for block in blocks]


def exact(client: httpx.Client, citation: dict) -> bool:
    span = {"start": citation["start"], "end": citation["end"]}
    text = client.get(f"/v1/documents/{citation['document_id']}/text", params=span).json()["text"]
    return text == citation["quote"]


@pytest.mark.requirement("SVC-03", "R")
def test_an_answer_quotes_the_documents_exactly(client: httpx.Client):
    answer = client.post("/v1/chat", json={"message": QUESTION}).json()
    assert ANSWER in answer["answer"]
    assert answer["citations"]
    assert all(exact(client, citation) for citation in answer["citations"])
    assert answer["usage"]["prompt_tokens"] > 0
    for number in range(1, len(answer["citations"]) + 1):
        assert f"[{number}]" in answer["answer"]


def test_streamed_and_whole_say_the_same(client: httpx.Client):
    whole = client.post("/v1/chat", json={"message": QUESTION}).json()
    streamed = events(client, message=QUESTION)
    assert [name for name, _ in streamed if name != "token"] == ["citations", "usage", "done"]
    assert "".join(data["text"] for name, data in streamed if name == "token") == whole["answer"]
    by_name = dict(streamed)
    assert by_name["citations"]["citations"] == whole["citations"]
    assert by_name["usage"] == whole["usage"] | {"model": "extractive"}
    session = client.get(f"/v1/sessions/{by_name['done']['session_id']}").json()
    assert [message["role"] for message in session["messages"]] == ["user", "assistant"]
    assert session["messages"][1]["content"] == whole["answer"]
    assert session["messages"][1]["citations"] == whole["citations"]


def test_a_session_goes_on_and_a_short_question_leans_on_the_one_before(client: httpx.Client):
    first = client.post("/v1/chat", json={"message": QUESTION}).json()
    second = client.post("/v1/chat", json={"message": "And a laptop?", "session_id": first["session_id"]})
    assert second.status_code == 200
    assert second.json()["session_id"] == first["session_id"]
    messages = client.get(f"/v1/sessions/{first['session_id']}/messages").json()["items"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user", "assistant"]


def test_nothing_relevant_is_said_and_costs_nothing(client: httpx.Client):
    answer = client.post("/v1/chat", json={"message": "Which enzyme unwinds the double helix of DNA?"}).json()
    assert answer["answer"] == "I found nothing about this in your documents."
    assert answer["citations"] == []
    assert answer["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd_micros": 0}


def test_a_passage_that_is_found_by_its_words_is_not_lost_among_nearer_ones(client: httpx.Client):
    answer = client.post("/v1/chat", json={"message": "What laptop can I choose?"}).json()
    assert "the light one with 14 inches" in answer["answer"]


def test_an_empty_collection_answers_with_nothing(client: httpx.Client):
    assert client.post("/v1/collections", json={"name": "empty-shelf"}).status_code in (201, 409)
    answer = client.post("/v1/chat", json={"message": QUESTION, "collection": "empty-shelf"}).json()
    assert answer["citations"] == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"message": ""}, 400, "message"),
        ({"message": "x" * 8_001}, 400, "message"),
        ({"message": " \n"}, 400, "body.message: write a question"),
        ({"message": "hello", "colection": "x"}, 400, "colection"),
        ({"message": "hello", "session_id": "ses_01m7xyjv5qe008n9nh8w9c825n"}, 404, "session"),
        ({"message": "hello", "collection": "no-such-shelf"}, 404, "no-such-shelf"),
        ({"message": QUESTION, "model": "no-such-model"}, 404, "no-such-model"),
    ],
)
def test_refusals_have_their_status_before_anything_streams(client, body: dict, status: int, word: str, stream: bool):
    answer = client.post("/v1/chat", json={**body, "stream": stream})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert word in answer.text
