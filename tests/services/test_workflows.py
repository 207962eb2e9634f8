"""The workflow engine by itself: defects, giving back, cancelling, whom a step acts for."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest

from slipway.base.callers import Caller, Scope
from slipway.base.errors import InvalidRequest, SlipwayError, Unavailable
from slipway.base.ids import new_id
from slipway.runtime import workflows
from slipway.runtime.database import Connection, Database
from slipway.runtime.workflows import Execution, LeaseLost, Outcome, Step, Worker, Workflow

pytestmark = pytest.mark.anyio


@pytest.fixture
async def leases(postgres) -> AsyncIterator[Database]:
    database = await Database.open(postgres.app_url, max_connections=2)
    yield database
    await database.close()


@pytest.fixture
def caller(new_caller) -> Caller:
    return new_caller(Scope.DOCUMENTS_WRITE, Scope.MODELS_USE)


def workflow_of(*steps: Callable[[Execution], Awaitable[None]], kind: str | None = None) -> Workflow:
    return Workflow(kind or new_id("kind"), [Step(step.__name__, step) for step in steps], failed=_ignore)


async def _ignore(execution: Execution, connection: Connection, error: SlipwayError) -> None:
    return None


async def begin(database: Database, caller: Caller, workflow: Workflow, **options) -> str:
    async with database.transaction(caller) as connection:
        return await workflows.start(connection, caller, workflow, new_id("doc"), **options)


async def row_of(database: Database, caller: Caller, workflow_id: str) -> dict:
    async with database.transaction(caller) as connection:
        found = await connection.execute("SELECT * FROM workflow WHERE id = %s", (workflow_id,))
        return await found.fetchone()


async def ended(database: Database, caller: Caller, workflow_id: str) -> dict:
    with anyio.fail_after(20):
        while True:
            row = await row_of(database, caller, workflow_id)
            if row["state"] in {"done", "failed"}:
                return row
            await anyio.sleep(0.02)


@contextlib.asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        yield
        group.cancel_scope.cancel()


async def test_a_step_acts_for_whoever_began_it(database, leases, caller) -> None:
    seen: list[Caller] = []

    async def look(execution: Execution) -> None:
        seen.append(execution.caller)

    workflow = workflow_of(look)
    workflow_id = await begin(database, caller, workflow)
    async with working(Worker(database, leases, [workflow])):
        assert (await ended(database, caller, workflow_id))["state"] == "done"
    assert seen == [caller]


async def test_a_defect_is_tried_three_times_and_says_nothing_private(database, leases, caller) -> None:
    tries = []

    async def breaks(execution: Execution) -> None:
        tries.append(execution.fence)
        raise ValueError("a secret path")

    workflow = workflow_of(breaks)
    workflow_id = await begin(database, caller, workflow)
    async with working(Worker(database, leases, [workflow])):
        row = await ended(database, caller, workflow_id)
    assert (row["state"], row["error_code"], len(set(tries))) == ("failed", "internal", 3)
    assert "secret" not in row["error_message"]


async def test_a_refusal_is_final_and_what_is_away_is_waited_for(database, leases, caller) -> None:
    tries = []

    async def waits(execution: Execution) -> None:
        tries.append(1)
        if len(tries) < 4:
            raise Unavailable("away", retry_after_s=0.0)

    async def refuses(execution: Execution) -> None:
        raise InvalidRequest("This file is broken.")

    workflow = workflow_of(waits, refuses)
    workflow_id = await begin(database, caller, workflow)
    async with working(Worker(database, leases, [workflow])):
        row = await ended(database, caller, workflow_id)
    assert (row["state"], row["error_message"], len(tries)) == ("failed", "This file is broken.", 4)


async def test_a_day_of_being_away_ends_it(database, leases, caller) -> None:
    async def waits(execution: Execution) -> None:
        raise Unavailable("The gateway is away.")

    workflow = workflow_of(waits)
    workflow_id = await begin(database, caller, workflow)
    async with database.transaction(caller) as connection:
        await connection.execute("UPDATE workflow SET failing_since = now() - interval '25 hours'")
    async with working(Worker(database, leases, [workflow])):
        assert (await ended(database, caller, workflow_id))["error_message"] == "The gateway is away."


async def test_a_worker_that_ends_gives_back_what_it_holds(database, leases, caller) -> None:
    began, finished = anyio.Event(), []

    async def first(execution: Execution) -> None:
        began.set()
        await anyio.sleep(60)

    async def second(execution: Execution) -> None:
        finished.append(1)

    slow = workflow_of(first)
    quick = Workflow(slow.kind, [Step("first", second)])
    workflow_id = await begin(database, caller, slow)
    async with working(Worker(database, leases, [slow])):
        await began.wait()
    row = await row_of(database, caller, workflow_id)
    assert (row["state"], row["attempts"]) == ("queued", 0)
    async with working(Worker(database, leases, [quick])):
        with anyio.fail_after(3):
            await ended(database, caller, workflow_id)
    assert finished == [1]


async def test_a_removed_workflow_stops_and_commits_nothing_more(database, leases, caller) -> None:
    began, outcome = anyio.Event(), []

    async def step(execution: Execution) -> None:
        began.set()
        try:
            await anyio.sleep(60)
        except BaseException:
            outcome.append("cancelled")
            with anyio.CancelScope(shield=True), pytest.raises(LeaseLost):
                async with execution.transaction():
                    outcome.append("committed")
            raise

    workflow = workflow_of(step)
    workflow_id = await begin(database, caller, workflow)
    async with working(Worker(database, leases, [workflow], lease_s=1.0)):
        await began.wait()
        subject = (await row_of(database, caller, workflow_id))["subject_id"]
        async with database.transaction(caller) as connection:
            await workflows.remove(connection, caller, subject)
        with anyio.fail_after(5):
            while not outcome:
                await anyio.sleep(0.05)
        other = workflow_of(step)
        assert other.kind != workflow.kind
        await anyio.sleep(0.1)
    assert outcome == ["cancelled"]


async def test_many_workers_run_each_workflow_once(database, leases, caller) -> None:
    ran: list[str] = []

    async def step(execution: Execution) -> None:
        ran.append(execution.workflow_id)
        await anyio.sleep(0.01)

    workflow = workflow_of(step)
    ids = [await begin(database, caller, workflow) for _ in range(30)]
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(working(Worker(database, leases, [workflow], width=3)))
        for workflow_id in ids:
            await ended(database, caller, workflow_id)
    assert sorted(ran) == sorted(ids)


async def test_cheap_steps_commit_with_the_next_or_before_its_error(database, leases, caller) -> None:
    seen: list[list[str]] = []

    def cheap(name: str) -> Step:
        async def run(execution: Execution) -> Outcome:
            execution.kept[name] = True
            return Outcome(done=1, total=1, cheap=True)

        return Step(name, run)

    async def look(execution: Execution) -> None:
        async with execution.transaction() as connection:
            found = await connection.execute("SELECT status FROM workflow_step ORDER BY position")
            seen.append([row["status"] for row in await found.fetchall()])
        if "second" in execution.kept:
            raise Unavailable("away", retry_after_s=0.0)

    workflow = Workflow(new_id("kind"), [cheap("first"), cheap("second"), Step("look", look)], failed=_ignore)
    workflow_id = await begin(database, caller, workflow)
    async with working(Worker(database, leases, [workflow])):
        assert (await ended(database, caller, workflow_id))["state"] == "done"
    assert seen == [["running", "pending", "pending"], ["done", "done", "running"]]


async def test_one_that_is_delayed_waits(database, leases, caller) -> None:
    async def step(execution: Execution) -> None:
        return None

    workflow = workflow_of(step)
    workflow_id = await begin(database, caller, workflow, delay_s=60)
    async with working(Worker(database, leases, [workflow])):
        await anyio.sleep(0.3)
        assert (await row_of(database, caller, workflow_id))["state"] == "queued"


async def test_one_tenants_many_leave_places_for_the_others(database, leases, new_caller) -> None:
    crowd, single = new_caller(Scope.DOCUMENTS_WRITE), new_caller(Scope.DOCUMENTS_WRITE)
    running: list[str] = []
    finish = anyio.Event()

    async def waits(execution: Execution) -> None:
        running.append(execution.caller.tenant_id)
        await finish.wait()

    workflow = workflow_of(waits)
    begun = [(crowd, await begin(database, crowd, workflow)) for _ in range(9)]
    async with working(Worker(database, leases, [workflow], width=4)):
        with anyio.fail_after(10):
            while len(running) < 3:
                await anyio.sleep(0.02)
        await anyio.sleep(1.5)  # longer than a poll: no fourth of the crowd is claimed
        assert running == [crowd.tenant_id] * 3
        begun.append((single, await begin(database, single, workflow)))
        with anyio.fail_after(5):
            while single.tenant_id not in running:
                await anyio.sleep(0.02)
        finish.set()
        for caller, workflow_id in begun:
            assert (await ended(database, caller, workflow_id))["state"] == "done"
