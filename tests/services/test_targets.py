"""The main job both ways: one process with every part, and each part in a process of its own."""

import asyncio
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from slipway.manifest.catalog import CATALOG
from slipway.runtime.postgres import EmbeddedPostgres
from tests.platforms import SLIPWAY, Platform, clean_environment
from tests.services.processes import EXAMPLES, QUESTION, add, free_ports, given_up, settings, until, usage_until
from tests.services.provider_simulator import Simulator

PARTS = tuple(CATALOG)
Restart = Callable[[str], None]


class Separate:
    """A client of each part, by the part's name; `start_again` replaces a part's process."""

    def __init__(
        self, urls: dict[str, str], api_key: str, processes: dict[str, subprocess.Popen[str]], start_again: Restart
    ) -> None:
        self.urls = urls
        self.api_key = api_key
        self.processes = processes
        self.start_again = start_again
        self.clients = {
            name: httpx.Client(base_url=url, headers={"x-api-key": api_key}, timeout=60) for name, url in urls.items()
        }


@pytest.fixture(scope="module")
def separate(tmp_path_factory: pytest.TempPathFactory, provider: tuple[Simulator, str]) -> Iterator[Separate]:
    """`slipway serve --target X` for each part, on one PostgreSQL and one folder of objects."""
    folder = tmp_path_factory.mktemp("separate")
    ports = dict(zip(PARTS, free_ports(len(PARTS)), strict=True))
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    server = EmbeddedPostgres(folder / "database")
    with ExitStack() as stack:
        addresses = server.start()
        stack.callback(server.stop)
        common = settings(
            folder,
            provider[1],
            SLIPWAY_DATABASE_URL=addresses.app_url,
            SLIPWAY_DATABASE_OWNER_URL=addresses.owner_url,
            SLIPWAY_SECRET_KEY="a secret of all the processes with 32 bytes and more",
            SLIPWAY_OBJECTS_URL=f"file://{folder}/objects",
            **{f"SLIPWAY_{name.upper()}_URL": url for name, url in urls.items()},
        )
        processes = {name: stack.enter_context(_serving(name, ports[name], folder, common)) for name in PARTS}
        with ThreadPoolExecutor() as pool:
            started = dict(zip(PARTS, pool.map(_started, processes.values()), strict=True))
        assert {name: line["url"] for name, line in started.items()} == urls

        def start_again(name: str) -> None:
            processes[name] = stack.enter_context(_serving(name, ports[name], folder, common))
            _started(processes[name])

        separate = Separate(urls, started["identity"]["api_key"], processes, start_again)
        for client in separate.clients.values():
            stack.callback(client.close)
        yield separate
        for process in processes.values():
            process.terminate()  # all at once: each takes its time to drain


class _serving:  # noqa: N801 - a context manager that reads like a function
    def __init__(self, name: str, port: int, folder: Path, variables: dict[str, str]) -> None:
        self.log = (folder / f"{name}.log").open("w")
        self.process = subprocess.Popen(
            [SLIPWAY, "serve", "--target", name, "--port", str(port), "--home", str(folder / name), "--json"],
            cwd=folder,
            env=clean_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def __enter__(self) -> subprocess.Popen[str]:
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.log.close()


def _started(process: subprocess.Popen[str]) -> dict:
    line = process.stdout.readline()
    assert line, f"{process.args} did not start"
    return json.loads(line)


def check_answer(chat: httpx.Client, documents: httpx.Client, usage: httpx.Client, asked_by: str) -> None:
    """The answer is right, each quote stands where its citation says, and whoever asked is charged for all of it."""
    asked_at = datetime.now(UTC)
    answer = chat.post("/v1/chat", json={"message": QUESTION})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert "14 days" in body["answer"]
    assert body["citations"]
    for citation in body["citations"]:
        span = {"start": citation["start"], "end": citation["end"]}
        text = documents.get(f"/v1/documents/{citation['document_id']}/text", params=span)
        assert text.json()["text"] == citation["quote"]
    assert any("14 days" in citation["quote"] for citation in body["citations"])

    def mine(row: dict, operation: str) -> bool:
        return (row["operation"], row["status"]) == (operation, "ok") and datetime.fromisoformat(row["at"]) >= asked_at

    written = usage_until(usage, lambda row: mine(row, "chat.completions"))
    assert (written["subject"], written["actor"], written["model"]) == (asked_by, "chat", "extractive")
    assert written["prompt_tokens"] == body["usage"]["prompt_tokens"] > 0
    embedded = usage_until(usage, lambda row: mine(row, "embeddings"))
    assert (embedded["subject"], embedded["actor"]) == (asked_by, "retrieval")


def subject_of(identity: httpx.Client) -> str:
    """The administrator's key by its id: what its requests are charged to."""
    keys = identity.get("/v1/admin/keys").json()["items"]
    return next(key["id"] for key in keys if key["name"] == "administrator")


def test_the_main_job_in_one_process(asking: httpx.Client, traced: Platform):
    check_answer(asking, asking, asking, subject_of(asking))


def test_the_main_job_with_each_part_in_a_process_of_its_own(separate: Separate):
    parts = separate.clients
    for name, client in parts.items():
        assert client.get("/ready").json() == {"ready": True, "parts": [name], "missing": {}}
    documents = add(parts["retrieval"], EXAMPLES / "handbook.pdf", *sorted((EXAMPLES / "notes").iterdir()))
    assert len(documents) == 5
    subject = subject_of(parts["identity"])
    check_answer(parts["chat"], parts["retrieval"], parts["gateway"], subject)

    tenant = parts["identity"].post("/v1/admin/tenants", json={"name": "another"})
    assert tenant.status_code in (200, 201), tenant.text
    rows = parts["gateway"].get("/v1/usage", params={"limit": 100}).json()["items"]
    assert {row["subject"] for row in rows} == {subject}, "ingestion and chat are charged to who asked, and to no other"
    assert {row["actor"] for row in rows} == {"chat", "retrieval"}


def test_an_answer_that_is_given_up_ends_the_gateways_work_in_another_process(
    separate: Separate, provider: tuple[Simulator, str]
):
    simulator, parts = provider[0], separate.clients
    asked, hung_up = simulator.seen.by_model["silent"], simulator.seen.hung_up["silent"]
    body = {"message": QUESTION, "model": "silent"}
    key = {"x-api-key": separate.api_key}
    asyncio.run(
        given_up(separate.urls["chat"], "/v1/chat", body, key, lambda: simulator.seen.by_model["silent"] > asked)
    )
    given_up_s = time.monotonic()
    until(lambda: simulator.seen.hung_up["silent"] > hung_up, 5, 0.01)
    assert time.monotonic() - given_up_s < 1.0
    row = usage_until(parts["gateway"], lambda row: row["requested_model"] == "silent")
    assert (row["status"], row["actor"]) == ("cancelled", "chat")


def test_a_key_that_one_process_revokes_is_refused_by_the_others_within_a_second(separate: Separate):
    parts = separate.clients
    made = parts["identity"].post("/v1/admin/keys", json={"name": "to be revoked"}).json()
    with httpx.Client(base_url=separate.urls["gateway"], headers={"x-api-key": made["secret"]}) as client:
        assert client.get("/v1/models").status_code == 200
        assert parts["identity"].delete(f"/v1/admin/keys/{made['id']}").is_success
        revoked_s = time.monotonic()
        until(lambda: client.get("/v1/models").status_code == 401, 3, 0.02)
        assert time.monotonic() - revoked_s < 1.0
        assert client.get("/v1/models").status_code == 401


def test_a_part_that_is_killed_is_missed_with_a_problem_and_found_again(separate: Separate):
    chat = separate.clients["chat"]
    assert chat.post("/v1/chat", json={"message": QUESTION}).status_code == 200
    separate.processes["gateway"].kill()
    separate.processes["gateway"].wait(10)
    away = chat.post("/v1/chat", json={"message": QUESTION})
    assert (away.status_code, away.json()["code"], away.json()["retryable"]) == (503, "unavailable", True)
    assert chat.get("/health").status_code == 200
    assert separate.clients["memory"].get("/v1/sessions").status_code == 200, "the others go on"
    separate.start_again("gateway")
    answer = chat.post("/v1/chat", json={"message": QUESTION})
    assert answer.status_code == 200, answer.text
    assert "14 days" in answer.json()["answer"]


def test_parts_refuse_tokens_of_another_platform(separate: Separate, asking: httpx.Client, traced: Platform):
    for client in separate.clients.values():
        answer = client.get("/v1/usage", headers={"x-api-key": traced.api_key})
        assert answer.status_code in (401, 404)
    assert separate.clients["gateway"].get("/v1/usage", headers={"x-api-key": traced.api_key}).status_code == 401
