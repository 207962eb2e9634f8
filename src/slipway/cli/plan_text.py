"""The plan for a terminal. Called by `slipway plan`; everything that it shows is in the Plan."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slipway.infra.findings import Finding
from slipway.operations.changes import Action, Change
from slipway.operations.costs import Amounts, CostLine
from slipway.operations.plan import Plan

_MARKS: Final[Mapping[Action, str]] = {
    "create": "[green]+[/]",
    "update": "[yellow]~[/]",
    "replace": "[bold red]±[/]",
    "destroy": "[bold red]-[/]",
}
_WORDS: Final[Mapping[Action, str]] = {
    "create": "created",
    "update": "changed",
    "replace": "replaced",
    "destroy": "destroyed",
}
_NARROWEST: Final = 100


def print_plan(plan: Plan) -> None:
    """Prints the plan, what refuses it last, so that it stands above the prompt."""
    console = Console(highlight=False)
    if not console.is_terminal or console.width < _NARROWEST:
        console = Console(highlight=False, width=max(console.width, _NARROWEST))
    console.print(f"[bold]{plan.platform} {plan.environment}[/] in {plan.region}, compared with {escape(plan.against)}")
    console.print(f"[dim]plan {plan.hash[:12]}[/]")
    _changes(console, plan)
    _costs(console, plan)
    _findings(console, plan)
    _objectives(console, plan)
    _preflight(console, plan)
    _verdict(console, plan)


def usd(micros: int) -> str:
    """Whole cents; a plan is an estimate."""
    sign = "-" if micros < 0 else ""
    return f"{sign}${abs(micros) / 1_000_000:,.2f}"


def counted(changes: Iterable[Change]) -> str:
    """`12 created, 1 replaced`, or `nothing`."""
    counts = Counter(change.action for change in changes)
    said = [f"{counts[action]} {word}" for action, word in _WORDS.items() if counts[action]]
    return ", ".join(said) or "nothing"


def grouped(lines: Iterable[CostLine]) -> list[tuple[CostLine, Amounts, int]]:
    """Lines of one type at one price together: one of them, their sum, how many; the dearest first."""
    sums: dict[tuple[str, str, str], list[CostLine]] = {}
    for line in lines:
        sums.setdefault((line.kind, line.usd, line.unit), []).append(line)
    found = [(each[0], sum((line.amounts for line in each), Amounts()), len(each)) for each in sums.values()]
    return sorted(found, key=lambda item: (-item[1].expected, item[0].kind, item[0].unit))


def _changes(console: Console, plan: Plan) -> None:
    console.print(f"\n[bold]Changes[/] {counted(plan.changes)}")
    for change in plan.changes:
        if change.action != "create":
            why = f" [dim]{escape('; '.join(change.why))}[/]" if change.why else ""
            data = " [bold red]holds data[/]" if change.data else ""
            kept = " [dim](the old one is kept)[/]" if change.kept else ""
            maybe = "" if change.certain else " [dim](or changed: the service decides)[/]"
            console.print(f"  {_MARKS[change.action]} {change.place} [dim]{change.kind}[/]{data}{maybe}{kept}{why}")
    for stack in plan.stacks:
        created = Counter(c.kind for c in plan.changes if c.action == "create" and c.stack == stack.part)
        if created:
            kinds = ", ".join(f"{number} {short(kind)}" for kind, number in created.most_common())
            console.print(f"  {_MARKS['create']} {stack.part} [dim]({stack.region}, {created.total()})[/] {kinds}")


def short(kind: str) -> str:
    """`EC2 NatGateway` of `AWS::EC2::NatGateway`."""
    return kind.removeprefix("AWS::").replace("::", " ")


def _costs(console: Console, plan: Plan) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("a month, list prices", "idle", "low", "expected", "high", "price"):
        table.add_column(name, justify="left" if name in ("a month, list prices", "price") else "right")
    sources: dict[str, int] = {}
    for line, amounts, count in grouped(plan.costs.lines):
        number = sources.setdefault(line.source, len(sources) + 1)
        times = f" ×{count}" if count > 1 else ""
        price = f"${line.usd} per {line.unit} [dim]\\[{number}][/]{' *' if line.note else ''}"
        table.add_row(f"{short(line.kind)}{times}", *map(usd, _four(amounts)), price)
    table.add_row("[bold]together[/]", *(f"[bold]{usd(value)}[/]" for value in _four(plan.costs.total)), "")
    if plan.difference is not None:
        table.add_row("difference", *(f"{value / 1_000_000:+,.2f}" for value in _four(plan.difference)), "")
    console.print("\n[bold]Costs[/]")
    console.print(table)
    if plan.budget_usd_micros is not None:
        console.print(f"budget.per_month is {usd(plan.budget_usd_micros)}.")
    console.print(f"[dim]Assumed: {plan.costs.assumed}. What models are asked is charged besides.[/]")
    notes = sorted({line.note for line in plan.costs.lines if line.note})
    console.print("".join(f"[dim]* {escape(note)}.[/]\n" for note in notes), end="")
    days = sorted({line.as_of.isoformat() for line in plan.costs.lines})
    console.print(f"[dim]Sources, {', '.join(days)}: " + "  ".join(f"\\[{n}] {s}" for s, n in sources.items()) + "[/]")
    for place, what in plan.costs.unpriced:
        console.print(f"[yellow]no price[/] for {place}: {what}")


def _four(amounts: Amounts) -> tuple[int, int, int, int]:
    return amounts.floor, amounts.low, amounts.expected, amounts.high


def _findings(console: Console, plan: Plan) -> None:
    open_ones = [finding for finding in plan.findings if not finding.accepted]
    accepted = len(plan.findings) - len(open_ones)
    console.print(f"\n[bold]Findings[/] {len(open_ones)}, and {accepted} accepted with a reason beside the resource")
    for finding in open_ones:
        console.print(_finding(finding))


def _finding(finding: Finding) -> str:
    colour = "red" if finding.severity == "error" else "yellow"
    where = escape(finding.place)
    return f"  [{colour}]{finding.severity}[/] {where} [dim]{finding.gate} {finding.rule}[/] {escape(finding.message)}"


def _objectives(console: Console, plan: Plan) -> None:
    if not plan.objectives:
        return
    wanted = plan.objectives[0]
    asked = f"RPO {wanted.wanted_rpo}, RTO {wanted.wanted_rto}" if wanted.wanted_rpo else "none declared"
    console.print(f"\n[bold]Recovery objectives[/] {asked}")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 2))
    for each in plan.objectives:
        colour = {"met": "green", "accepted": "yellow", "missed": "bold red"}.get(each.verdict, "dim")
        why = f": {each.why}" if each.why else ""
        table.add_row(
            each.store, f"when {each.loss}", f"RPO {each.rpo or 'never'}", f"RTO {each.rto or 'never'}",
            f"[{colour}]{each.verdict}[/]{escape(why)}", f"[dim]{each.means}[/]",
        )  # fmt: skip
    console.print(table)


def _preflight(console: Console, plan: Plan) -> None:
    console.print("\n[bold]Preflight[/]")
    said = {each.said for each in plan.preflight}
    if len(said) == 1 and all(each.state == "skipped" for each in plan.preflight):
        console.print(f"  {', '.join(each.check for each in plan.preflight)}: {next(iter(said))}")
        return
    for each in plan.preflight:
        colour = {"passed": "green", "failed": "bold red"}.get(each.state, "dim")
        console.print(f"  [{colour}]{each.state}[/] {each.check}: {escape(each.said)}")


def _verdict(console: Console, plan: Plan) -> None:
    console.print()
    for refusal in plan.refusals:
        console.print(f"[bold red]refused[/] {escape(refusal.said)}")
    if not plan.refusals:
        console.print("Nothing to do." if not plan.changes else f"[bold green]ready[/] {counted(plan.changes)}")
