"""Durable workflows: named steps that survive `kill -9`, on rows of the same PostgreSQL (ADR 0009).

A workflow is one row with a lease, and one row for each of its steps. A worker claims it by writing a random fence into
the row and keeps it by renewing the lease from a task of its own. Every effect of a step commits in a transaction that
first locks the row and finds that fence, so a worker that was paused and woke up cannot double anything. Slices define
`Workflow`s and start them within their own transactions; a process runs one `Worker`.

Errors of a step: retryable ones are tried again with growing pauses until they have lasted a day; others fail the
workflow at once; unexpected ones and crashes of the whole process count, and three without progress fail it.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from psycopg.rows import DictRow

from slipway.base.callers import Caller
from slipway.base.errors import Internal, SlipwayError, as_ours
from slipway.base.ids import new_id
from slipway.runtime.acting import ACTING, ACTING_VALUES, acting_caller, acting_values
from slipway.runtime.database import Connection, Database, one

_log = logging.getLogger(__name__)

LEASE_S: Final = 10.0  # a dead worker's workflows are taken over this long after its last heartbeat
_HEARTBEATS_PER_LEASE: Final = 5
_POLL_S: Final = 1.0  # how late a workflow that another process started may be picked up
_MAX_ATTEMPTS: Final = 3  # of one step without progress: crashes of the process and errors nobody expected
_BACKOFF_S: Final = (0.5, 60.0)  # first and longest pause, doubled in between; arbitrary
_GIVE_UP_AFTER: Final = "1 day"  # a store or provider that is away for longer needs a person anyway

# Attempts count anew from every achievement: this one is the first at whatever comes next.
_BEGIN_ANEW: Final = "UPDATE workflow SET attempts = 1, retries = 0, failing_since = NULL"
_END: Final = "state = %(state)s, error_code = %(code)s, error_message = %(public)s, ended_at = clock_timestamp()"
_THIS: Final = " WHERE tenant_id = %(tenant)s AND id = %(id)s"
# One statement rather than three: of a short document's ingestion, round trips are the larger part.
_FINISH_STEPS: Final = (
    "WITH finished AS (UPDATE workflow_step SET status = 'done', done = coalesce(given.done, workflow_step.done),"
    "   total = coalesce(given.total, workflow_step.total)"
    "  FROM unnest(%(names)s::text[], %(done)s::int[], %(total)s::int[]) AS given(name, done, total)"
    "  WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s AND workflow_step.name = given.name),"
    " following AS (UPDATE workflow_step SET status = 'running'"
    "  WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s AND status = 'pending' AND position ="
    "   (SELECT min(position) FROM workflow_step WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s"
    "    AND status = 'pending' AND name <> ALL(%(names)s))) "
)

Commit = Callable[[Connection], Awaitable[None]]


class LeaseLost(Exception):
    """The workflow was taken over or cancelled; whatever the step was about to commit must not happen."""


@dataclass(frozen=True)
class Outcome:
    """What a step wants committed, and how far it then is.

    One that is `cheap` may wait for the commit of the next step: both are true at once then, and a crash before it runs
    both again. For steps that cost less than their commit. The next one finds what it needs in `Execution.kept`.
    """

    commit: Commit | None = None
    done: int | None = None
    total: int | None = None
    cheap: bool = False


@dataclass(frozen=True)
class Step:
    """One step. `run` may be started again after a crash; what it returns commits once, together with its end."""

    name: str
    run: Callable[["Execution"], Awaitable[Outcome | Commit | None]]


@dataclass(frozen=True)
class Workflow:
    """A kind of workflow. A release may add, remove or reorder steps: those that are done stay done."""

    kind: str
    steps: Sequence[Step]
    failed: Callable[["Execution", Connection, SlipwayError], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Execution:
    """What a step is given: on whose behalf it runs, what it is about, and transactions that only its holder gets."""

    database: Database
    caller: Caller
    workflow_id: str
    subject_id: str
    fence: str
    step: str = ""
    kept: dict[str, Any] = field(default_factory=dict)  # what a step leaves in memory for the next ones of this run

    @contextlib.asynccontextmanager
    async def transaction(self, *, durable: bool = True) -> AsyncIterator[Connection]:
        """A transaction of the caller's tenant that raises LeaseLost unless this worker still holds the workflow.

        While it is open nobody can take the workflow over or cancel it. Not `durable` are only commits on which this
        process does not rely afterwards: a crash of PostgreSQL may undo them while the worker lives and goes on.
        """
        # KEY SHARE lets the heartbeat's update pass and holds back the FOR UPDATE of a claim or a cancellation.
        # A holder that stops inside the transaction loses its session, or its lock would outlive its lease.
        async with self.database.transaction_with(
            self.caller,
            "SELECT set_config('idle_in_transaction_session_timeout', %(idle)s, true),"
            " set_config('synchronous_commit', %(durable)s, true) FROM workflow"
            " WHERE tenant_id = %(tenant)s AND id = %(id)s AND fence = %(fence)s AND state = 'running' FOR KEY SHARE",
            self.keys | {"idle": f"{int(LEASE_S)}s", "durable": "on" if durable else "off"},
        ) as (connection, held):
            if held is None:
                raise LeaseLost(self.workflow_id)
            yield connection

    @property
    def keys(self) -> dict[str, str]:
        return {"tenant": self.caller.tenant_id, "id": self.workflow_id, "fence": self.fence, "step": self.step}

    async def progress(self, connection: Connection, done: int, total: int | None, *, step: str | None = None) -> None:
        """Records how far a step is, this one unless `step` says which."""
        await connection.execute(
            "UPDATE workflow_step SET done = %(done)s, total = %(total)s"
            " WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s AND name = %(step)s",
            self.keys | {"done": done, "total": total, "step": step or self.step},
        )

    async def advance(self, connection: Connection, done: int) -> None:
        """Records that this step has done so much more and need not do it again: its attempts count from here."""
        await connection.execute(
            "WITH advanced AS (UPDATE workflow_step SET done = done + %(done)s"  # noqa: S608 - constants only
            "  WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s AND name = %(step)s) " + _BEGIN_ANEW + _THIS,
            self.keys | {"done": done},
        )


async def start(
    connection: Connection,
    caller: Caller,
    workflow: Workflow,
    subject_id: str,
    *,
    delay_s: float = 0.0,
    workflow_id: str | None = None,
) -> str:
    """Starts a workflow about `subject_id` on the caller's behalf, once the caller's transaction commits."""
    workflow_id = workflow_id or new_id("wfl")
    await connection.execute(
        f"WITH begun AS (INSERT INTO workflow (tenant_id, id, kind, subject_id, {ACTING}, due_at)"  # noqa: S608 - constants only
        f" VALUES (%(tenant)s, %(id)s, %(kind)s, %(subject)s, {ACTING_VALUES},"
        " clock_timestamp() + make_interval(secs => %(delay)s)))"
        " INSERT INTO workflow_step (tenant_id, workflow_id, name, position)"
        " SELECT %(tenant)s, %(id)s, name, position FROM unnest(%(steps)s::text[]) WITH ORDINALITY"
        " AS step(name, position)",
        {
            "tenant": caller.tenant_id,
            "id": workflow_id,
            "kind": workflow.kind,
            "subject": subject_id,
            "delay": delay_s,
            "steps": [step.name for step in workflow.steps],
        }
        | acting_values(caller),
    )
    return workflow_id


async def remove(connection: Connection, caller: Caller, subject_id: str) -> None:
    """Ends every workflow about `subject_id` and forgets it; waits for a commit of theirs that is under way."""
    keys = {"tenant": caller.tenant_id, "subject": subject_id}
    await connection.execute(
        "SELECT 1 FROM workflow WHERE tenant_id = %(tenant)s AND subject_id = %(subject)s FOR UPDATE", keys
    )
    await connection.execute("DELETE FROM workflow WHERE tenant_id = %(tenant)s AND subject_id = %(subject)s", keys)


async def _write_steps(connection: Connection, tenant_id: str, workflow_id: str, workflow: Workflow) -> None:
    await connection.execute(
        "INSERT INTO workflow_step (tenant_id, workflow_id, name, position)"
        " SELECT %s, %s, name, position FROM unnest(%s::text[]) WITH ORDINALITY AS step(name, position)"
        " ON CONFLICT (tenant_id, workflow_id, name) DO UPDATE SET position = excluded.position"
        " WHERE workflow_step.position <> excluded.position",
        (tenant_id, workflow_id, [step.name for step in workflow.steps]),
    )


@dataclass
class Worker:
    """Runs workflows of the given kinds, `width` at a time, until it is cancelled; three quarters for one tenant.

    `leases` is a pool of its own for claims and heartbeats, so that requests that use up the other pool cannot let
    a lease run out.
    """

    database: Database
    leases: Database
    workflows: Sequence[Workflow] = ()
    width: int = 2
    lease_s: float = LEASE_S
    _wakes: asyncio.Event = field(default_factory=asyncio.Event)
    _held: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    _places: Counter[str] = field(default_factory=Counter)  # taken, by tenant

    def wake(self) -> None:
        """Looks for work now rather than at the next poll."""
        self._wakes.set()

    async def run(self) -> None:
        """Works until cancelled; what it then holds is given back at once."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_leases())
            if self.width:
                await self._work(group)

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.lease_s / _HEARTBEATS_PER_LEASE)
            fences = list(self._held)
            if not fences:
                continue
            try:
                async with self.leases.platform_transaction() as connection:
                    await connection.execute("SET LOCAL synchronous_commit = off")
                    kept = await connection.execute(
                        "UPDATE workflow SET due_at = clock_timestamp() + make_interval(secs => %s)"
                        " WHERE fence = ANY(%s) AND state = 'running' RETURNING fence",
                        (self.lease_s, fences),
                    )
                    alive = {row["fence"] for row in await kept.fetchall()}
            except SlipwayError as error:
                _log.warning("leases could not be renewed, will try again: %s", error)
                continue
            for fence in set(fences) - alive:
                if task := self._held.get(fence):
                    task.cancel("lease lost")

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """One task claims for all places, so that new work does not wake as many claims as there are places."""
        while True:
            self._wakes.clear()
            most, claimed = self._most(), list[DictRow]()
            if most:
                try:
                    claimed = await self._claim(most)
                except SlipwayError as error:
                    _log.warning("no workflow could be claimed, will try again: %s", error)
            for row in claimed:
                self._places[row["tenant_id"]] += 1
                group.create_task(self._take_place(row))
            if not claimed or len(claimed) < most:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wakes.wait(), _POLL_S)

    async def _take_place(self, row: DictRow) -> None:
        try:
            await self._hold(row)
        finally:
            self._places[row["tenant_id"]] -= 1
            self._wakes.set()

    @property
    def _share(self) -> int:
        """How many places one tenant may take: the rest is for the others, who never wait for its large documents."""
        return max(1, self.width * 3 // 4)

    def _most(self) -> int:
        """How many may be claimed at once without giving one tenant more than its share."""
        self._places = +self._places
        most_of_others = max((taken for taken in self._places.values() if taken < self._share), default=0)
        return min(self.width - self._places.total(), self._share - most_of_others)

    async def _claim(self, most: int) -> list[DictRow]:
        async with self.leases.platform_transaction() as connection:
            await connection.execute("SET LOCAL synchronous_commit = off")
            claim = await connection.execute(
                "UPDATE workflow SET state = 'running', fence = due.fence, attempts = workflow.attempts + 1,"
                " due_at = clock_timestamp() + make_interval(secs => %(lease)s),"
                " started_at = coalesce(workflow.started_at, clock_timestamp())"
                " FROM (SELECT tenant_id, id, gen_random_uuid()::text AS fence FROM workflow"
                "  WHERE state IN ('queued', 'running') AND due_at <= clock_timestamp() AND kind = ANY(%(kinds)s)"
                "  AND tenant_id <> ALL(%(served)s)"
                "  ORDER BY due_at LIMIT %(most)s FOR UPDATE SKIP LOCKED) AS due"
                " WHERE workflow.tenant_id = due.tenant_id AND workflow.id = due.id RETURNING workflow.*",
                {
                    "lease": self.lease_s,
                    "kinds": [workflow.kind for workflow in self.workflows],
                    "served": [tenant for tenant, taken in self._places.items() if taken >= self._share],
                    "most": most,
                },
            )
            return await claim.fetchall()

    async def _hold(self, row: Mapping[str, Any]) -> None:
        """Executes a claimed workflow in a task that the heartbeat can cancel."""
        task = asyncio.create_task(self._execute(row))
        self._held[row["fence"]] = task
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():  # the heartbeat ended it: the lease is lost, this worker lives on
                return
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await asyncio.shield(self._give_back(row))
            raise
        finally:
            del self._held[row["fence"]]

    async def _give_back(self, row: Mapping[str, Any]) -> None:
        with contextlib.suppress(SlipwayError):
            async with self.leases.platform_transaction() as connection:
                await connection.execute(
                    "UPDATE workflow SET state = 'queued', due_at = clock_timestamp(), attempts = attempts - 1"
                    " WHERE fence = %s AND state = 'running'",
                    (row["fence"],),
                )

    async def _execute(self, row: Mapping[str, Any]) -> None:
        workflow = next(item for item in self.workflows if item.kind == row["kind"])
        execution = Execution(self.database, acting_caller(row), row["id"], row["subject_id"], row["fence"])
        try:
            if row["attempts"] > _MAX_ATTEMPTS:
                public = f"Processing this stopped {_MAX_ATTEMPTS} times without progress, so it was given up."
                await self._fail(workflow, execution, Internal(public))
                return
            steps = await self._open_steps(workflow, execution)
            finished: list[tuple[Step, Outcome]] = []
            for step in steps:
                execution = replace(execution, step=step.name)
                await self._run_step(step, execution, finished, last=step is steps[-1])
            if not steps:  # newer code has none but those that are done
                async with execution.transaction() as connection:
                    await _end(connection, execution, "done")
        except LeaseLost:
            return
        except SlipwayError as error:
            await self._after_error(workflow, execution, error)
        except Exception as error:  # noqa: BLE001 - a defect in one step must not end every other workflow
            _log.exception("a step of %s failed unexpectedly", row["kind"])
            await self._after_error(workflow, execution, as_ours(error))

    async def _open_steps(self, workflow: Workflow, execution: Execution) -> list[Step]:
        async with execution.transaction(durable=False) as connection:
            # With the first one marked in the same statement, which sees it as it was before.
            rows = await connection.execute(
                "WITH first AS (UPDATE workflow_step SET status = 'running' WHERE tenant_id = %(tenant)s"
                "  AND workflow_id = %(id)s AND name = %(first)s AND status = 'pending')"
                " SELECT name, status FROM workflow_step WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s"
                " ORDER BY position",
                execution.keys | {"first": workflow.steps[0].name},
            )
            known = {row["name"]: row["status"] for row in await rows.fetchall()}
            if list(known) != [step.name for step in workflow.steps]:  # other code began it
                await _write_steps(connection, execution.caller.tenant_id, execution.workflow_id, workflow)
            steps = [step for step in workflow.steps if known.get(step.name) != "done"]
            marked = steps and steps[0] is workflow.steps[0] and known.get(steps[0].name) == "pending"
            if steps and not marked and known.get(steps[0].name) != "running":
                await _mark(connection, execution, "running", steps[0].name)
            return steps

    async def _run_step(
        self, step: Step, execution: Execution, finished: list[tuple[Step, Outcome]], *, last: bool
    ) -> None:
        """Runs a step and commits what is `finished`, unless that may wait for the next one."""
        began = time.monotonic()
        try:
            found = await step.run(execution)
        except Exception:
            if finished:  # what came before it stands on its own
                await _commit(execution, finished, last=False)
            raise
        outcome = found if isinstance(found, Outcome) else Outcome(found)
        finished.append((step, outcome))
        if last or not outcome.cheap:
            await _commit(execution, finished, last=last)
            finished.clear()
        _log.debug("step %s of %s took %.3f s", step.name, execution.subject_id, time.monotonic() - began)

    async def _after_error(self, workflow: Workflow, execution: Execution, error: SlipwayError) -> None:
        """Schedules another attempt or fails the workflow. With the database away the lease runs out instead."""
        expected = not isinstance(error, Internal)
        try:
            async with execution.transaction() as connection:
                counted = await connection.execute(
                    "SELECT attempts >= %(most)s AS last,"
                    " coalesce(failing_since < clock_timestamp() - %(limit)s::interval, false) AS hopeless"
                    " FROM workflow WHERE tenant_id = %(tenant)s AND id = %(id)s",
                    execution.keys | {"most": _MAX_ATTEMPTS, "limit": _GIVE_UP_AFTER},
                )
                counts = one(await counted.fetchone())
            if counts["hopeless"] or (not error.retryable if expected else counts["last"]):
                await self._fail(workflow, execution, error)
            else:
                await self._retry(execution, error, give_back=expected)
        except LeaseLost:
            return
        except SlipwayError as second:
            _log.warning("the outcome of %s could not be recorded: %s", execution.workflow_id, second)

    async def _retry(self, execution: Execution, error: SlipwayError, *, give_back: bool) -> None:
        _log.info("%s of %s will be tried again: %s", execution.step, execution.subject_id, error)
        first_s, longest_s = _BACKOFF_S
        async with execution.transaction() as connection:
            await connection.execute(
                "UPDATE workflow SET state = 'queued', retries = retries + 1, attempts = attempts - %(back)s,"
                " failing_since = coalesce(failing_since, clock_timestamp()), due_at = clock_timestamp()"
                " + make_interval(secs => greatest(least(%(first)s * 2.0 ^ least(retries, 20), %(longest)s), %(wait)s))"
                " WHERE tenant_id = %(tenant)s AND id = %(id)s",
                execution.keys
                | {
                    "back": int(give_back),
                    "first": first_s,
                    "longest": longest_s,
                    "wait": min(error.retry_after_s or 0.0, longest_s),
                },
            )

    async def _fail(self, workflow: Workflow, execution: Execution, error: SlipwayError) -> None:
        _log.info("%s of %s failed: %s", workflow.kind, execution.subject_id, error)
        async with execution.transaction() as connection:
            await _mark(connection, execution, "failed", execution.step)
            if workflow.failed is not None:
                await workflow.failed(execution, connection, error)
            await _end(connection, execution, "failed", error)


async def _commit(execution: Execution, finished: Sequence[tuple[Step, Outcome]], *, last: bool) -> None:
    """Commits what these steps achieved and that they are done, at once."""
    async with execution.transaction() as connection:
        for _, outcome in finished:
            if outcome.commit is not None:
                await outcome.commit(connection)
        await connection.execute(
            _FINISH_STEPS + _BEGIN_ANEW + (f", {_END}" if last else "") + _THIS,
            execution.keys
            | {
                "names": [step.name for step, _ in finished],
                "done": [outcome.done for _, outcome in finished],
                "total": [outcome.total for _, outcome in finished],
            }
            | _ending("done"),
        )


async def _end(connection: Connection, execution: Execution, state: str, error: SlipwayError | None = None) -> None:
    await connection.execute(f"UPDATE workflow SET {_END}{_THIS}", execution.keys | _ending(state, error))  # noqa: S608 - constants only


def _ending(state: str, error: SlipwayError | None = None) -> dict[str, str | None]:
    return {"state": state, "code": error.code if error else None, "public": error.public if error else None}


async def _mark(connection: Connection, execution: Execution, status: str, step: str) -> None:
    await connection.execute(
        "UPDATE workflow_step SET status = %(status)s WHERE tenant_id = %(tenant)s AND workflow_id = %(id)s"
        " AND name = %(step)s",
        execution.keys | {"status": status, "step": step},
    )
