"""The book of plans against a store that is slow, away or late, which a real one is only now and then."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from slipway.base.callers import Caller
from slipway.base.errors import InvalidRequest, Misconfigured, NotFound, Unavailable
from slipway.manifest.sections.plans import Plan
from slipway.manifest.units import Count, Money
from slipway.services.gateway import plan_book
from slipway.services.gateway.plan_book import TENANT, UNLIMITED, Assignment, PlanBook, PlanLimits, Plans

START = datetime(2026, 11, 25, tzinfo=UTC)
MANIFEST = {
    "free": Plan(requests_per_second=5, burst=10, tokens_per_minute=Count(1_000), tokens_per_month=Count(10_000)),
    "paid": Plan(budget_per_month=Money(5_000_000), max_output_tokens=Count(2_000)),
}
FREE = PlanLimits("free", 5, 10, 1_000, 10_000)
PAID = PlanLimits("paid", budget_usd_micros=5_000_000, max_output_tokens=2_000)
CALLER = Caller("ten_1", "key_1", frozenset(), key_id="key_1")
USER = Caller("ten_1", "usr_1", frozenset())


class Store:
    """Assignments in memory, with a clock that is turned by each of them."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Assignment] = {}
        self.reads = 0
        self.delay_s = 0.0
        self.away = False

    def put(self, subject: str, plan: str | None, tenant_id: str = "ten_1") -> Assignment:
        at = START + timedelta(seconds=1 + len(self.rows) + self.reads)
        known = self.rows.get((tenant_id, subject))
        if known is not None:
            at = max(at, known.changed_at + timedelta(seconds=1))
        self.rows[tenant_id, subject] = Assignment(tenant_id, subject, plan, at)
        return self.rows[tenant_id, subject]

    async def assignment_list(self, caller: Caller) -> list[Assignment]:
        self.reads += 1
        await asyncio.sleep(self.delay_s)
        if self.away:
            raise Unavailable("The database is away.")
        return [row for row in self.rows.values() if row.tenant_id == caller.tenant_id]

    async def assignment_changes(self, since: datetime | None) -> tuple[datetime, list[Assignment]]:
        await asyncio.sleep(self.delay_s)
        if self.away:
            raise Unavailable("The database is away.")
        return START, list(self.rows.values())

    async def assign_tenant(self, caller: Caller, tenant_id: str, plan: str | None) -> Assignment | None:
        return self.put(TENANT, plan, tenant_id) if tenant_id == "ten_1" else None

    async def assign_key(self, caller: Caller, key_id: str, plan: str | None) -> Assignment | None:
        return self.put(key_id, plan, caller.tenant_id) if key_id == "key_1" else None


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def book(store: Store) -> PlanBook:
    return PlanBook(store, MANIFEST)


@pytest.mark.anyio
async def test_a_tenant_without_a_plan_has_the_default_one_or_no_limits(store: Store, book: PlanBook) -> None:
    assert book.plans_of(CALLER) is None
    await book.load(CALLER)
    assert book.plans_of(CALLER) == Plans(UNLIMITED)
    with_default = PlanBook(store, {**MANIFEST, "default": Plan(burst=3)})
    await with_default.load(CALLER)
    assert with_default.plans_of(CALLER) == Plans(PlanLimits("default", burst=3))


@pytest.mark.anyio
async def test_a_keys_plan_holds_besides_its_tenants(store: Store, book: PlanBook) -> None:
    store.put(TENANT, "free")
    store.put("key_1", "paid")
    await book.load(CALLER)
    assert book.plans_of(CALLER) == Plans(FREE, PAID)
    assert book.plans_of(USER) == Plans(FREE)
    assert book.plans_of(CALLER) is book.plans_of(CALLER)


@pytest.mark.anyio
async def test_changes_are_seen_by_polling_and_an_old_answer_changes_nothing(store: Store, book: PlanBook) -> None:
    first = store.put(TENANT, "free")
    await book.load(CALLER)
    before = book.plans_of(CALLER)
    await book.poll()
    assert book.plans_of(CALLER) is before, "nothing changed"
    second = store.put(TENANT, "paid")
    await book.poll()
    assert book.plans_of(CALLER) == Plans(PAID)
    store.rows["ten_1", TENANT] = first
    await book.load(CALLER)
    assert book.plans_of(CALLER) == Plans(PAID)
    store.rows["ten_1", TENANT] = second
    store.put(TENANT, None)
    await book.poll()
    assert book.plans_of(CALLER) == Plans(UNLIMITED)


@pytest.mark.anyio
async def test_whoever_is_on_a_plan_that_is_gone_is_refused_with_what_to_do(store: Store, book: PlanBook) -> None:
    store.put("key_1", "gold")
    await book.load(CALLER)
    assert book.plans_of(USER) == Plans(UNLIMITED)
    with pytest.raises(Misconfigured, match="on the plan 'gold', which the manifest does not have any more: put it on"):
        book.plans_of(CALLER)
    store.put("key_1", "paid")
    store.put(TENANT, "gold")
    await book.poll()
    for caller in (CALLER, USER):
        with pytest.raises(Misconfigured, match="slipway plans"):
            book.plans_of(caller)


@pytest.mark.anyio
async def test_an_unknown_tenant_is_refused_while_the_store_is_away_and_a_known_one_keeps_its_plan(
    store: Store, book: PlanBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(TENANT, "free")
    await book.load(CALLER)
    store.away = True
    stranger = Caller("ten_2", "usr_2", frozenset())
    with pytest.raises(Unavailable):
        await book.load(stranger)
    with pytest.raises(Unavailable):
        await book.poll()
    assert book.plans_of(stranger) is None
    assert book.plans_of(CALLER) == Plans(FREE)
    monkeypatch.setattr(plan_book, "_DEADLINE_S", 0.02)
    store.away, store.delay_s = False, 5
    for waiting in (book.load(stranger), book.poll()):
        with pytest.raises(Unavailable, match="does not answer: try again"):
            await waiting


@pytest.mark.anyio
async def test_many_first_requests_read_once_and_one_that_goes_leaves_the_others(store: Store, book: PlanBook) -> None:
    store.delay_s = 0.02
    waiting = [asyncio.create_task(book.load(CALLER)) for _ in range(20)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [None] * 19
    assert store.reads == 1
    assert book.plans_of(CALLER) == Plans(UNLIMITED)


@pytest.mark.anyio
async def test_the_poll_goes_on_after_a_failure(
    store: Store, book: PlanBook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plan_book, "_POLL_S", 0.005)
    await book.load(CALLER)
    store.away = True
    running = asyncio.create_task(book.run())
    await asyncio.sleep(0.05)
    assert caplog.text.count("changes of plans cannot be read") == 1
    store.put(TENANT, "paid")
    store.away = False
    async with asyncio.timeout(5):
        while book.plans_of(CALLER) != Plans(PAID):
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.anyio
async def test_plans_are_assigned_at_once_and_only_those_that_there_are(book: PlanBook) -> None:
    await book.load(CALLER)
    await book.assign_tenant(USER, "ten_1", "free")
    await book.assign_key(USER, "key_1", "paid")
    assert book.plans_of(CALLER) == Plans(FREE, PAID)
    assert [row.subject for row in await book.assignment_list(USER)] == [TENANT, "key_1"]
    await book.assign_key(USER, "key_1", None)
    assert book.plans_of(CALLER) == Plans(FREE)
    with pytest.raises(InvalidRequest, match="There is no plan 'fre': did you mean 'free'"):
        await book.assign_tenant(USER, "ten_1", "fre")
    with pytest.raises(InvalidRequest, match="the plans are free, paid"):
        await book.assign_key(USER, "key_1", "xyzzy")
    with pytest.raises(InvalidRequest, match="the manifest has no plans"):
        await PlanBook(Store(), {}).assign_tenant(USER, "ten_1", "free")
    with pytest.raises(NotFound, match="no such tenant"):
        await book.assign_tenant(USER, "ten_9", "free")
    with pytest.raises(NotFound, match="no such key"):
        await book.assign_key(USER, "key_9", "free")


@pytest.mark.anyio
async def test_the_cache_has_a_limit(store: Store, book: PlanBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_book, "_MAX_TENANTS", 2)
    callers = [Caller(f"ten_{number}", "usr", frozenset()) for number in range(3)]
    for caller in callers:
        await book.load(caller)
    assert [book.plans_of(caller) is not None for caller in callers] == [False, True, True]
