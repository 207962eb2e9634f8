"""What a platform makes of a dead database, of clients that leave and of a full disk: nothing lost or doubled."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway.base.ids import new_id
from slipway.runtime.postgres import EmbeddedPostgres
from tests.platforms import Platform, platform
from tests.services.processes import QUESTION, given_up, until, usage_until
from tests.services.provider_simulator import Simulator

RECOVERY_S = 10.0


class Hammer:
    """Clients in threads that repeat what was not acknowledged, as a careful client does, and note every answer."""

    def __init__(self, running: Platform) -> None:
        self.running = running
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.answers: list[httpx.Response] = []
        self.broken: list[str] = []
        self.messages: dict[str, list[str]] = {}
        self.documents: list[str] = []

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.running.url, headers=self.running.headers(), timeout=30)

    def sent(self, send: Callable[[], httpx.Response]) -> httpx.Response | None:
        """The answer that acknowledges; None when the test ends first."""
        while not self.stop.is_set():
            answer = send()
            with self.lock:
                self.answers.append(answer)
            if answer.is_success:
                return answer
            time.sleep(0.1)
        return None

    def append(self) -> None:
        with self.client() as client:
            session_id = client.post("/v1/sessions", json={}).json()["id"]
            said = self.messages[session_id] = []
            number = 0
            while not self.stop.is_set():
                number += 1
                content = f"message {number}"
                body = {"role": "user", "content": content, "idempotency_key": f"{session_id}-{number}"}
                path = f"/v1/sessions/{session_id}/messages"
                if self.sent(lambda body=body, path=path: client.post(path, json=body)) is not None:
                    said.append(content)

    def add(self) -> None:
        with self.client() as client:
            while not self.stop.is_set():
                text = f"Fact {new_id('fact')}: nothing acknowledged is lost."
                file = {"file": ("fact.txt", text.encode())}
                answer = self.sent(lambda file=file: client.post("/v1/documents", files=file))
                if answer is not None:
                    self.documents.append(answer.json()["id"])
                time.sleep(0.2)

    def search(self) -> None:
        with self.client() as client:
            while not self.stop.is_set():
                self.sent(lambda: client.post("/v1/search", json={"query": "Which fact is lost?"}))

    @contextmanager
    def blows(self) -> Iterator[None]:
        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:
                self.broken.append(repr(error))

        work = [self.append] * 3 + [self.add] * 2 + [self.search] * 3
        threads = [threading.Thread(target=guarded, args=[each]) for each in work]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(60)


def test_a_database_that_is_killed_under_load_comes_back_with_all_that_was_acknowledged(tmp_path: Path):
    with platform(tmp_path / "home") as running:
        hammer = Hammer(running)
        with hammer.blows():
            until(lambda: len(hammer.documents) >= 4 and all(len(said) > 5 for said in hammer.messages.values()), 60)
            killed_s = time.monotonic()
            killed = EmbeddedPostgres(running.home).pid
            os.kill(killed, signal.SIGKILL)
            until(lambda: EmbeddedPostgres(running.home).pid not in (None, killed), 20)
            with hammer.client() as client:
                until(lambda: client.get("/ready").status_code == 200, 30)
                assert time.monotonic() - killed_s < RECOVERY_S
            counts = {session_id: len(said) for session_id, said in hammer.messages.items()}
            until(lambda: all(len(hammer.messages[each]) > count + 3 for each, count in counts.items()), 30)
        assert hammer.broken == []
        assert running.process.poll() is None

        refused = [answer for answer in hammer.answers if not answer.is_success]
        # Few or none: whoever has no connection yet waits for the server, which is back within a second or two.
        assert {answer.status_code for answer in refused} <= {503}
        for answer in refused:
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert (problem["code"], problem["retryable"]) == ("unavailable", True)

        with hammer.client() as client:
            for session_id, said in hammer.messages.items():
                kept = list(paged(client, session_id))
                acknowledged = [content for content in kept if content in set(said)]
                assert acknowledged == said, "each acknowledged message once, in its order"
                assert len(kept) <= len(said) + 1, "and at most the one that was under way at the end"
            assert len(set(hammer.documents)) == len(hammer.documents)
            for document_id in hammer.documents:
                until(lambda each=document_id: client.get(f"/v1/documents/{each}").json()["status"] == "ready", 60)
            listed = client.get("/v1/documents", params={"limit": 100}).json()["items"]
            assert set(hammer.documents) <= {document["id"] for document in listed}
            assert {document["chunk_count"] for document in listed if document["status"] == "ready"} == {1}


def paged(client: httpx.Client, session_id: str) -> Iterator[str]:
    """Every message of a session."""
    after = 0
    while True:
        page = client.get(f"/v1/sessions/{session_id}/messages", params={"after": after, "limit": 100}).json()["items"]
        if not page:
            return
        yield from (message["content"] for message in page)
        after = page[-1]["sequence"]


def gauge(client: httpx.Client, name: str) -> float:
    """A metric without labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return next(sample.value for family in families for sample in family.samples if sample.name == name)


def transactions_left_open(running: Platform) -> int:
    """Connections that are in a transaction and do nothing."""
    with psycopg.connect(EmbeddedPostgres(running.home).start().owner_url, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        return connection.execute(query).fetchone()[0]


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_a_client_that_leaves_ends_all_work_done_for_it(
    traced: Platform, asking: httpx.Client, provider: tuple[Simulator, str], path: str, stream: bool
):
    seen = provider[0].seen
    model = "stalls" if stream else "silent"
    asked, hung_up = seen.by_model[model], seen.hung_up[model]
    body: dict[str, Any] = {"model": model, "stream": stream, "message": QUESTION}
    if path != "/v1/chat":
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": QUESTION}]}
    rows = asking.get("/v1/usage", params={"limit": 1}).json()["items"]
    asyncio.run(given_up(traced.url, path, body, traced.headers(), lambda: seen.by_model[model] > asked))
    left_s = time.monotonic()
    until(lambda: seen.hung_up[model] > hung_up, 5, 0.01)
    assert time.monotonic() - left_s < 1.0, "the provider's connection is closed within a second"
    until(lambda: gauge(asking, "slipway_http_requests_open") == 1, 5, 0.05)  # the scrape itself
    row = usage_until(asking, lambda row: row["requested_model"] == model and row not in rows)
    assert row["status"] == "cancelled"
    until(lambda: transactions_left_open(traced) == 0, 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes an administrator")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_an_upload_that_the_disk_does_not_hold_leaves_nothing_behind(tmp_path: Path, small_disk: Path):
    variables = {"SLIPWAY_OBJECTS_URL": f"file://{small_disk}/objects"}
    with (
        platform(tmp_path / "home", settings=variables) as running,
        httpx.Client(base_url=running.url, headers=running.headers(), timeout=60) as client,
    ):
        before = files(small_disk)
        large = b"A line of a large document.\n" * 150_000
        answer = client.post("/v1/documents", files={"file": ("large.txt", large)})
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full"), answer.text
        assert client.get("/v1/documents").json()["items"] == []
        assert files(small_disk) == before
        small = client.post("/v1/documents", files={"file": ("small.txt", b"There is room for this.")})
        assert small.status_code == 202
        until(lambda: client.get(f"/v1/documents/{small.json()['id']}").json()["status"] == "ready", 60)


def files(folder: Path) -> set[Path]:
    """Every file below a folder."""
    return {path for path in folder.rglob("*") if path.is_file()}
