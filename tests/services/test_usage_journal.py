"""Usage rows through the journal: one for each opened request, whatever dies, fills or is away."""

import asyncio
import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slipway.base.errors import StorageFull, Unavailable
from slipway.base.ids import new_id
from slipway.runtime.database import Database
from slipway.runtime.journal import adopt
from slipway.runtime.journal import writer as journal_writer
from slipway.services.gateway import usage_recovery
from slipway.services.gateway.adapter_postgres import PostgresUsage
from slipway.services.gateway.models import Opening, Tokens, UsageRow
from slipway.services.gateway.usage_journal import UsageJournal
from slipway.services.gateway.usage_records import row_json
from slipway.services.gateway.usage_recovery import Recovery

pytestmark = pytest.mark.anyio
ACCOUNT = "tenant:ten_x:usd_micros:2026-11"


class Store:
    """Keeps rows as PostgreSQL does, each once; `away` and `refuses` play its troubles."""

    def __init__(self) -> None:
        self.rows: dict[str, dict] = {}
        self.away = False
        self.most = 0

    async def usage_append(self, rows) -> None:
        if self.away:
            raise Unavailable("The database does not answer.")
        self.most = max(self.most, len(rows))
        for raw in rows:
            row = json.loads(raw)
            self.rows.setdefault(row["id"], row)

    async def usage_list(self, *_, **__):
        raise NotImplementedError


class Settled:
    """What was settled, by holder."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, int], bool]] = []

    async def __call__(self, holder, spent, *, complete) -> None:
        self.calls.append((holder, dict(spent), complete))


def opening(caller, request_id: str | None = None, **changes) -> Opening:
    values = {
        "request_id": request_id or new_id("req"),
        "caller": caller,
        "at": datetime.now(UTC),
        "operation": "chat.completions",
        "requested_model": "default",
        "model": "plain",
        "provider": "openai",
        "price_version": "2026-11-01",
        "price": "1/2/1/1/1",
        "bound_tokens": 1000,
        "bound_usd_micros": 500,
        "holds": ((ACCOUNT, 500),),
    }
    return Opening(**(values | changes))


def closing(opened: Opening, **changes) -> UsageRow:
    values = {
        "request_id": opened.request_id,
        "caller": opened.caller,
        "at": opened.at,
        "operation": opened.operation,
        "requested_model": opened.requested_model,
        "model": opened.model,
        "provider": opened.provider,
        "tokens": Tokens(11, 7, cache_read=3, cache_write=2, cache_write_1h=1),
        "cost_usd_micros": 98,
        "latency_ms": 12,
        "ttft_ms": None,
        "status": "ok",
        "error_code": None,
        "price_version": opened.price_version,
        "price": opened.price,
        "reserved_usd_micros": opened.bound_usd_micros,
        "provider_request_id": "chatcmpl-1",
        "charges": ((ACCOUNT, 98),),
    }
    return UsageRow(**(values | changes))


async def until(condition, timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def killed(log: UsageJournal) -> None:
    """What a kill leaves: the files, and a lock that is free."""
    log._reader.close()
    log._journal.close()


async def test_rows_reach_postgresql_whole_and_once(database: Database, new_caller, tmp_path):
    caller, other = new_caller(), new_caller()
    store = PostgresUsage(database)
    log = UsageJournal.start(tmp_path, store)
    running = asyncio.create_task(log.run())
    opened = [opening(caller), opening(other), opening(caller)]
    for each in opened:
        log.open(each)
    for each in opened:
        log.close(closing(each, over_bound=True, uncertain_usd_micros=5))
    await until(lambda: log.pending == 0)
    await store.usage_append([row_json(closing(opened[0], cost_usd_micros=1))])
    report = await store.usage_list(caller, after=None, before=None, model=None, key_id=None, cursor=None, limit=9)
    assert report.totals.requests == 2
    row = {item.request_id: item for item in report.items}[opened[0].request_id]
    assert (row.cost_usd_micros, row.price, row.price_version) == (98, "1/2/1/1/1", "2026-11-01")
    assert (row.cache_read_tokens, row.cache_write_tokens, row.cache_write_1h_tokens) == (3, 3, 1)
    assert (row.over_bound, row.uncertain_usd_micros, row.reserved_usd_micros) == (True, 5, 500)
    assert (row.at, row.provider_request_id, row.cost_basis) == (opened[0].at, "chatcmpl-1", "counted")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.flush()
    assert list(tmp_path.iterdir()) == []


async def test_a_row_that_the_database_refuses_holds_back_no_other(database: Database, new_caller, tmp_path, caplog):
    caller = new_caller()
    store = PostgresUsage(database)
    log = UsageJournal.start(tmp_path, store)
    for changes in ({}, {"latency_ms": 2**40}, {"error_code": "\0"}, {"error_code": "\ud800"}, {}, {}):
        each = opening(caller)
        log.open(each)
        log.close(closing(each, **changes))
    await log.flush()
    report = await store.usage_list(caller, after=None, before=None, model=None, key_id=None, cursor=None, limit=9)
    assert (report.totals.requests, log.pending) == (6, 0)
    assert caplog.text.count("usage row stored as far as the table takes it") == 3 and "1099511627776" in caplog.text


async def test_rows_wait_on_the_disk_while_the_database_is_away(new_caller, tmp_path):
    caller, store = new_caller(), Store()
    store.away = True
    log = UsageJournal.start(tmp_path, store, segment_bytes=64 * 1024)
    running = asyncio.create_task(log.run())
    ids = []
    for index in range(3000):
        each = opening(caller)
        ids.append(each.request_id)
        log.open(each)
        log.close(closing(each))
        if index % 100 == 0:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.3)
    assert log.pending == 3000
    assert len(log._batch) <= 1000 and not log._open and not log._unwritten
    assert len(list(log._journal.folder.glob("*.log"))) > 20
    store.away = False
    await until(lambda: log.pending == 0)
    assert set(store.rows) == set(ids) and store.most <= 1000
    await until(lambda: len(list(log._journal.folder.glob("*.log"))) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.flush()


async def test_openings_are_refused_when_the_journal_is_full_and_closings_are_not(new_caller, tmp_path):
    caller, store = new_caller(), Store()
    store.away = True
    log = UsageJournal.start(tmp_path, store, segment_bytes=32 * 1024, max_bytes=100 * 1024)
    opened = []
    with pytest.raises(Unavailable, match="journal is full"):
        for _ in range(1000):
            each = opening(caller)
            log.open(each)
            opened.append(each)
    with pytest.raises(Unavailable):
        await log.check()
    for each in opened:
        log.close(closing(each))
    assert log.pending == len(opened) > 20 and not log._unwritten
    store.away = False
    running = asyncio.create_task(log.run())
    await until(lambda: log.pending == 0)
    assert len(store.rows) == len(opened)
    await asyncio.sleep(0.6)
    await log.check()
    log.open(last := opening(caller))
    log.close(closing(last))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await log.flush()
    assert last.request_id in store.rows


async def test_a_closing_that_the_disk_refuses_is_delivered_from_memory(new_caller, tmp_path, monkeypatch):
    caller, store, settled = new_caller(), Store(), Settled()
    log = UsageJournal.start(tmp_path, store, settle_dead=settled)
    each, other = opening(caller), opening(caller)
    log.open(each)
    log.open(other)

    def refuses(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(journal_writer.os, "pwrite", refuses)
        log.close(closing(each))
        with pytest.raises(StorageFull, match="no room"):
            log.open(opening(caller))
    log.close(closing(other))
    assert log.pending == 2
    await log.flush()
    assert set(store.rows) == {each.request_id, other.request_id}
    assert settled.calls == [(log.instance_id, {ACCOUNT: 196}, True)]
    assert list(tmp_path.iterdir()) == []


async def test_a_dead_process_is_recovered_with_its_open_requests_at_their_bound(new_caller, tmp_path):
    caller, store, settled = new_caller(), Store(), Settled()
    dead = UsageJournal.start(tmp_path, store, segment_bytes=16 * 1024)
    slow = opening(caller)
    dead.open(slow)
    dead.open(taken_back := opening(caller))
    dead.withdraw(taken_back.request_id)
    dead.leasing("key:key_y:tokens:2026-11")
    dead.leasing(ACCOUNT)
    for _ in range(100):
        each = opening(caller)
        dead.open(each)
        dead.close(closing(each))
    twice = opening(caller)
    dead.open(twice)
    dead.open(replace(twice, bound_usd_micros=1000, holds=((ACCOUNT, 500), (ACCOUNT, 500))))
    await killed(dead)
    [orphan] = adopt(tmp_path)
    await Recovery(store).attempt(orphan, settled)
    assert len(store.rows) == 102 and taken_back.request_id not in store.rows
    row = store.rows[slow.request_id]
    assert (row["status"], row["error_code"], row["cost_basis"]) == ("unknown", "process_killed", "bound")
    assert (row["cost_usd_micros"], row["prompt_tokens"], row["tokens_estimated"]) == (500, 1000, True)
    assert store.rows[twice.request_id]["cost_usd_micros"] == 1000
    assert settled.calls == [(dead.instance_id, {ACCOUNT: 100 * 98 + 500 + 1000, "key:key_y:tokens:2026-11": 0}, True)]
    assert list(tmp_path.iterdir()) == []


async def test_totals_survive_the_removal_of_segments(new_caller, tmp_path):
    caller, store, settled = new_caller(), Store(), Settled()
    log = UsageJournal.start(tmp_path, store, segment_bytes=8 * 1024)
    log.open(slow := opening(caller))
    for _ in range(200):
        each = opening(caller)
        log.open(each)
        log.close(closing(each))
    await log._deliver()
    assert not (log._journal.folder / "000001.log").exists()
    await killed(log)
    [orphan] = adopt(tmp_path)
    await Recovery(store).attempt(orphan, settled)
    assert len(store.rows) == 201 and store.rows[slow.request_id]["status"] == "unknown"
    assert settled.calls[0][1:] == ({ACCOUNT: 200 * 98 + 500}, True)


async def test_a_total_that_was_forgotten_is_not_kept_on_the_disk_either(new_caller, tmp_path):
    caller, store, settled = new_caller(), Store(), Settled()
    log = UsageJournal.start(tmp_path, store, segment_bytes=8 * 1024)
    log.leasing(past := "tenant:ten_y:tokens:2026-10")
    log.forget(past)
    for _ in range(200):
        each = opening(caller)
        log.open(each)
        log.close(closing(each))
    await log._deliver()
    await killed(log)
    [orphan] = adopt(tmp_path)
    await Recovery(store).attempt(orphan, settled)
    assert settled.calls[0][1:] == ({ACCOUNT: 200 * 98}, True)


async def test_records_may_be_missing_after_the_machine_went_down(new_caller, tmp_path, monkeypatch):
    caller = new_caller()
    for policy, complete in (("none", False), ("interval", False), ("always", True)):
        settled, root = Settled(), tmp_path / policy
        monkeypatch.setattr(journal_writer, "boot_id", lambda: "before")
        dead = UsageJournal.start(root, Store(), sync=policy)
        monkeypatch.undo()
        dead.open(opening(caller))
        await dead.synced()
        await killed(dead)
        [orphan] = adopt(root)
        await Recovery(Store()).attempt(orphan, settled)
        assert settled.calls == [(dead.instance_id, {ACCOUNT: 500}, complete)]


async def test_two_processes_share_a_root_and_a_failed_settlement_is_tried_again(new_caller, tmp_path):
    caller, store = new_caller(), Store()
    dead = UsageJournal.start(tmp_path, store)
    dead.open(opening(caller))
    await killed(dead)
    tried = []

    async def once_away(holder, spent, *, complete) -> None:
        tried.append(holder)
        if len(tried) == 1:
            raise Unavailable("The database does not answer.")

    logs = [UsageJournal.start(tmp_path, store, settle_dead=once_away) for _ in range(2)]
    running = [asyncio.create_task(log.run()) for log in logs]
    await until(lambda: not (tmp_path / dead.instance_id).exists())
    assert tried == [dead.instance_id] * 2
    assert all((tmp_path / log.instance_id).is_dir() for log in logs)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for log in logs:
        await log.flush()


async def test_a_journal_that_cannot_be_settled_waits_ever_longer_and_is_delivered_once(
    new_caller, tmp_path, monkeypatch, caplog
):
    caller, store = new_caller(), Store()
    dead = UsageJournal.start(tmp_path, store)
    dead.open(opening(caller))
    await killed(dead)
    now_s, tried, settled = 1000.0, 0, Settled()
    monkeypatch.setattr(usage_recovery, "monotonic", lambda: now_s)

    async def twice_away(holder, spent, *, complete) -> None:
        nonlocal tried
        tried += 1
        if tried <= 2:
            raise Unavailable("The database does not answer.")
        await settled(holder, spent, complete=complete)

    recovery, [orphan] = Recovery(store), adopt(tmp_path)
    turns = []
    for _ in range(10):
        await recovery.attempt(orphan, twice_away)
        turns.append(tried)
        now_s += 1.0
        if tried == 1:
            store.away = True  # nothing is delivered again
        if tried == 3:
            break
    assert turns == [1, 1, 2, 2, 2, 2, 3]
    assert settled.calls == [(dead.instance_id, {ACCOUNT: 500}, True)] and list(tmp_path.iterdir()) == []
    assert caplog.text.count("is not settled yet") == 2


CHILD = """
import asyncio, sys
from pathlib import Path
from slipway.services.gateway.usage_journal import UsageJournal
from slipway.base.callers import Caller
from tests.services.test_usage_journal import Store, closing, opening

log = UsageJournal.start(Path(sys.argv[1]), Store(), segment_bytes=20000)
caller = Caller("ten_child", "usr_child", frozenset())
waiting = []
for index in range(1_000_000):
    each = opening(caller, f"req_{index:06d}")
    log.open(each)
    sys.stdout.write(each.request_id + "\\n")
    sys.stdout.flush()
    waiting.append(each)
    if len(waiting) > 7:
        log.close(closing(waiting.pop(index % 7)))
"""


async def test_a_process_killed_at_any_moment_leaves_a_row_for_each_request_that_it_opened(tmp_path):
    chance = random.Random(11)
    for attempt in range(6):
        root, store, settled = tmp_path / str(attempt), Store(), Settled()
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(root)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(chance.random() * 0.1)
        child.kill()
        said = (first + child.stdout.read()).decode().split("\n")
        child.stdout.close()
        child.wait()
        opened = set(said[:-1])
        [orphan] = adopt(root)
        await Recovery(store).attempt(orphan, settled)
        # One may have been opened that could not be said any more; it was not served then.
        assert opened <= set(store.rows) and len(store.rows) - len(opened) <= 1
        unknown = [row for row in store.rows.values() if row["status"] == "unknown"]
        assert 1 <= len(unknown) <= 9
        assert settled.calls == [
            (orphan.instance_id, {ACCOUNT: (len(store.rows) - len(unknown)) * 98 + len(unknown) * 500}, True)
        ]
