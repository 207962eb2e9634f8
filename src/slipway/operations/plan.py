"""The plan of one environment: a value that says what a deploy would do, cost and break, and what refuses it.

`plan` synthesizes once and lets the gates run side by side over it. The value has a hash, so that a deploy can be held
to the plan that was read. `slipway plan` renders it; nothing here prints.
"""

import hashlib
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from slipway.base.money import format_usd
from slipway.infra.app import Assembly, synthesize_tree
from slipway.infra.checks import check, refused
from slipway.infra.findings import Finding
from slipway.infra.inputs import Inputs
from slipway.infra.lint_cache import LintCache
from slipway.infra.linting import helpers
from slipway.manifest.schema import Manifest
from slipway.manifest.sections.placement import Schedule
from slipway.operations.baseline import NOTHING_COMPARED, Baseline, deployed, states
from slipway.operations.changes import Change, changes
from slipway.operations.costs import Amounts, Costs, estimate
from slipway.operations.objectives import Objective, objectives
from slipway.operations.preflight import Account, Preflight, preflight, skipped

Reason = Literal["data", "name", "findings", "budget", "objectives", "preflight"]
NOTHING_TO_DO: Final = 0
REFUSED: Final = 1
CHANGES: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStack:
    """A stack as it would be: how many resources, a digest of its template, and the stacks that come before it."""

    part: str
    name: str
    region: str
    resources: int
    digest: str
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the plan must not be deployed, and what to do about it."""

    reason: Reason
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would happen. `before` is the estimate of what it is compared with, None where that is nothing."""

    platform: str
    environment: str
    region: str
    against: str
    stacks: tuple[PlannedStack, ...]
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    costs: Costs
    before: Costs | None
    budget_usd_micros: int | None
    objectives: tuple[Objective, ...]
    preflight: tuple[Preflight, ...]
    refusals: tuple[Refusal, ...]

    @property
    def hash(self) -> str:
        """The same for the same plan: over everything in it."""
        text = json.dumps(asdict(self), sort_keys=True, default=_plain)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def difference(self) -> Amounts | None:
        """How the estimate moves; None where nothing was there to compare."""
        return None if self.before is None else self.costs.total - self.before.total

    @property
    def exit_code(self) -> int:
        """0: nothing to do, 1: refused, 2: there are changes."""
        if self.refusals:
            return REFUSED
        return CHANGES if self.changes else NOTHING_TO_DO

    def as_data(self) -> dict[str, Any]:
        """The plan as JSON has it, with its sums, hash and exit code."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_plain))
        data["total"] = asdict(self.costs.total)
        data["difference"] = None if self.difference is None else asdict(self.difference)
        return {**data, "hash": self.hash, "exit_code": self.exit_code}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What to compare with, and whom to ask: another manifest's baseline, or an account, or neither."""

    baseline: Baseline | None = None
    account: Account | None = None
    skipped_because: str = "there are no credentials for AWS"


Watch = Callable[[str], None]


def plan(
    manifest: Manifest,
    environment: str,
    inputs: Inputs | None = None,
    against: Comparison | None = None,
    *,
    allow_data_loss: Collection[str] = (),
    cache: Path | None = None,
    watch: Watch = lambda _: None,
) -> Plan:
    """The plan of one environment. `cache` is a folder for what need not be found out twice, `watch` is told the name
    of each phase that ends.

    Raises Misconfigured or InvalidRequest as synthesis does, and Unavailable when the deployed stacks cannot be read.
    """
    compared = against or Comparison()
    remembered = None if cache is None else LintCache(cache / "cfn-lint")
    with helpers() as linters:  # they load while this process synthesizes
        synthesis = synthesize_tree(manifest, environment, inputs)
        watch("synthesis")
        with ThreadPoolExecutor(max_workers=1) as side:
            findings = side.submit(check, synthesis, linters, remembered)
            draft = drafted(synthesis.assembly, compared)
            watch("changes and costs")
            found = findings.result()
    watch("checks")
    return decided(draft, found, allow_data_loss)


def drafted(assembly: Assembly, compared: Comparison) -> Plan:
    """The plan without findings and without a verdict."""
    site, after = assembly.site, states(assembly)
    baseline = compared.baseline
    if baseline is None and compared.account is not None:
        baseline = deployed(compared.account.session, assembly)
    before = baseline or Baseline(NOTHING_COMPARED)
    running = running_share(site.manifest.schedule)
    production = site.production
    return Plan(
        platform=site.manifest.name,
        environment=site.names.environment,
        region=site.region,
        against=before.label,
        stacks=_stacks(assembly),
        changes=changes(before.stacks, after),
        findings=(),
        costs=estimate(after, production=production, running=running),
        before=estimate(before.stacks, production=production, running=running) if before.stacks else None,
        budget_usd_micros=None if site.manifest.budget.per_month is None else site.manifest.budget.per_month.usd_micros,
        objectives=tuple(objectives(site.manifest)),
        preflight=_preflight(compared, assembly, before),
        refusals=(),
    )


def _preflight(compared: Comparison, assembly: Assembly, before: Baseline) -> tuple[Preflight, ...]:
    if compared.account is None:
        return skipped(compared.skipped_because)
    return preflight(compared.account, assembly, frozenset(stack.name for stack in before.stacks))


def _stacks(assembly: Assembly) -> tuple[PlannedStack, ...]:
    return tuple(
        PlannedStack(
            part=stack.part,
            name=stack.name,
            region=stack.region,
            resources=len(stack.resources()),
            digest=hashlib.sha256(stack.text.encode()).hexdigest(),
            after=stack.after,
        )
        for stack in assembly.stacks
    )


def decided(draft: Plan, findings: tuple[Finding, ...], allowed: Collection[str] = ()) -> Plan:
    """The draft with its findings, and with everything that refuses it."""
    whole = replace(draft, findings=findings)
    return replace(whole, refusals=tuple(_refusals(whole, allowed)))


def _refusals(made: Plan, allowed: Collection[str]) -> list[Refusal]:
    found = [Refusal("data", _data_loss(change)) for change in made.changes if _unallowed(change, allowed)]
    found += [Refusal("name", _stuck(change)) for change in made.changes if change.stuck]
    bad = refused(made.findings)
    if bad:
        count = f"{len(bad)} findings are" if len(bad) > 1 else "one finding is"
        found.append(Refusal("findings", f"{count} neither put right nor accepted with a reason beside the resource"))
    total = made.costs.total
    if made.budget_usd_micros is not None and total.expected > made.budget_usd_micros:
        found.append(
            Refusal(
                "budget",
                f"a month is expected to cost {format_usd(_cents(total.expected))}, and budget.per_month is"
                f" {format_usd(made.budget_usd_micros)}: make it smaller, or raise the budget",
            )
        )
    found += [
        Refusal("objectives", f"{each.store} misses the objectives when {each.loss}")
        for each in made.objectives
        if each.verdict == "missed"
    ]
    found += [Refusal("preflight", f"{each.check}: {each.said}") for each in made.preflight if each.state == "failed"]
    return found


def _unallowed(change: Change, allowed: Collection[str]) -> bool:
    return change.loses_data and change.place not in allowed and change.resource not in allowed


def _data_loss(change: Change) -> str:
    what = "would be replaced by an empty one" if change.action == "replace" else "would be destroyed"
    maybe = "" if change.certain else " (or updated: the service decides)"
    kept = "the old one stays in the account, out of the platform's hands" if change.kept else "what it holds is lost"
    return f"{change.place} holds data and {what}{maybe}; {kept}. --allow-data-loss {change.place} says that it may be"


def _stuck(change: Change) -> str:
    return (
        f"{change.place} would be replaced under the same {change.stuck}, which CloudFormation refuses:"
        " change the name with it"
    )


def _cents(micros: int) -> int:
    return round(micros / 10_000) * 10_000


def running_share(schedule: Schedule | None) -> Decimal:
    """The share of a week in which what a schedule stops is running; without one, all of it."""
    if schedule is None:
        return Decimal(1)
    if schedule.start is None:
        return Decimal(1)  # it stays stopped until somebody starts it, which nobody can know
    stop, start = schedule.stop, schedule.start
    minutes = (stop.hour * 60 + stop.minute - start.hour * 60 - start.minute) % 1440 or 1440
    days = 5 if start.weekdays_only else 7
    return Decimal(minutes * days) / Decimal(1440 * 7)


def _plain(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in a plan")
