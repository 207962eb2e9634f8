"""What a running platform tells of itself: metrics, one log line a request, one trace through all its parts."""

import json

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.platforms import Platform
from tests.services.processes import EXAMPLES, QUESTION, Collector, until

SENTENCE = "You have 14 days after your last working day to return a laptop"


def lines(running: Platform) -> list[dict]:
    """The log so far; every line is JSON."""
    return [json.loads(line) for line in list(running.log)]


def line_of(running: Platform, request_id: str) -> list[dict]:
    return [line for line in lines(running) if line["message"] == "request" and line.get("request_id") == request_id]


def test_metrics_name_routes_and_never_paths(asking: httpx.Client):
    document = asking.get("/v1/documents").json()["items"][0]["id"]
    asking.get(f"/v1/documents/{document}")
    asking.get(f"/v1/nothing/{document}")
    asking.get("/v1/models/extractive")
    asking.request("BREW", "/v1/documents")
    answer = asking.get("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert {"slipway_http_requests", "slipway_http_request_seconds", "slipway_http_requests_open"} <= set(families)
    labels = [sample.labels for sample in families["slipway_http_requests"].samples]
    routes = {label["route"] for label in labels}
    assert {"/v1/documents/{document_id}", "/v1/models/{model}", "/v1/documents", "unmatched"} <= routes
    assert document not in answer.text
    assert {label["method"] for label in labels} <= {"GET", "POST", "DELETE", "other"}
    documented = asking.get("/openapi.json").json()["paths"]
    assert routes <= set(documented) | {"unmatched", "/openapi.json"}


def test_each_request_leaves_one_line_with_the_id_of_its_answer(asking: httpx.Client, traced: Platform):
    answers = [
        asking.get("/v1/documents", headers={"x-request-id": "given-by-the-caller"}),
        asking.get("/v1/documents/doc_absent"),
        asking.post("/v1/chat/completions", json={"model": "nobody", "messages": [{"role": "user", "content": "x"}]}),
        asking.get("/v1/documents", headers={"authorization": "Bearer wrong"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 404, 404, 401]
    for answer in answers:
        request_id = answer.headers["x-request-id"]
        until(lambda each=request_id: line_of(traced, each), 5)
        (line,) = line_of(traced, request_id)
        assert (line["status"], line["level"]) == (answer.status_code, "info")
        assert line["took_ms"] >= 0
    first = line_of(traced, answers[0].headers["x-request-id"])[0]
    assert (first["client_request_id"], first["route"]) == ("given-by-the-caller", "/v1/documents")


def test_one_trace_goes_through_all_parts_of_an_answer(asking: httpx.Client, traced: Platform, traces: Collector):
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    answer = asking.post("/v1/chat", json={"message": QUESTION}, headers={"traceparent": f"00-{trace_id}-{parent}-01"})
    assert answer.status_code == 200
    expected = {
        "POST /v1/chat",
        "POST /v1/search",
        "POST /v1/embeddings",
        "POST /v1/chat/completions",
        "POST /v1/sessions",
        "POST /v1/sessions/{session_id}/messages",
    }

    def arrived() -> dict:
        spans = {span.span_id: span for span in list(traces.spans) if span.trace_id.hex() == trace_id}
        return spans if {span.name for span in spans.values()} >= expected else {}

    spans = until(arrived, 15)
    by_name = {span.name: span for span in spans.values()}
    assert by_name["POST /v1/chat"].parent_span_id.hex() == parent
    for inner in ("POST /v1/search", "POST /v1/chat/completions", "POST /v1/sessions"):
        assert by_name[inner].parent_span_id == by_name["POST /v1/chat"].span_id
    assert by_name["POST /v1/embeddings"].parent_span_id == by_name["POST /v1/search"].span_id
    attributes = {item.key: item.value for item in by_name["POST /v1/chat"].attributes}
    assert attributes["http.response.status_code"].int_value == 200
    assert attributes["http.route"].string_value == "/v1/chat"

    logged = [line for line in lines(traced) if line.get("trace_id") == trace_id]
    assert {line["route"] for line in logged if line["message"] == "request"} >= {"/v1/chat", "/v1/search"}


def test_no_line_holds_a_secret_or_what_documents_and_questions_say(asking: httpx.Client, traced: Platform):
    made = asking.post("/v1/admin/keys", json={"name": "seen once"}).json()
    asking.get("/v1/documents", headers={"authorization": f"Bearer {made['secret']}"})
    asking.get("/v1/documents", headers={"x-api-key": "sk-slip-wrong-and-secret"})
    asking.post("/v1/documents", files={"file": ("broken.pdf", b"%PDF-1.7 hush hush hush")})
    asking.post("/v1/search", json={"query": "hush hush hush", "limit": "hush"})
    assert SENTENCE in asking.post("/v1/chat", json={"message": QUESTION}).text
    kept = json.loads((traced.home / "postgres" / "passwords.json").read_text())
    last = asking.get("/health").headers["x-request-id"]
    until(lambda: line_of(traced, last), 5)
    log = "".join(traced.log)
    assert len(lines(traced)) > 20
    secrets = [
        traced.api_key,
        made["secret"],
        "sk-slip-wrong",
        "sk-upstream",
        (traced.home / "secret.key").read_text().strip(),
    ]
    secrets += [value for value in kept.values() if isinstance(value, str) and len(value) > 12]
    for secret in [*secrets, SENTENCE, QUESTION, "hush hush hush", "eyJ"]:
        assert secret not in log, f"{secret[:6]}… is in the log"
    assert (EXAMPLES / "notes" / "minutes.txt").read_text()[:60] not in log
