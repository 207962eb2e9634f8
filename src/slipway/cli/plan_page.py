"""The plan as one page that needs nothing besides itself: no script, no font, no request.

Called by `slipway plan --html`. What refuses stands first, then figures, costs with a bar for their share, changes,
findings, objectives. Long lists fold.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files

from slipway.cli.plan_text import counted, grouped, short, usd
from slipway.infra.findings import Finding
from slipway.operations.changes import Change
from slipway.operations.costs import Amounts, CostLine
from slipway.operations.plan import Plan

_MARKS = {"create": "+", "update": "~", "replace": "±", "destroy": "−"}


def page(plan: Plan) -> str:
    """The page, complete."""
    title = f"Plan of {plan.platform} {plan.environment}"
    style = files("slipway.cli").joinpath("plan_page.css").read_text("utf-8")
    body = "\n".join(part for section in _SECTIONS for part in section(plan))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{style}</style></head><body><main>\n{body}\n</main></body></html>\n"
    )


def _head(plan: Plan) -> Iterator[str]:
    verdict, text = ("refused", "Refused") if plan.refusals else ("ready", "Ready")
    if not plan.refusals and not plan.changes:
        verdict, text = "same", "Nothing to do"
    yield (
        f"<header><p class=kicker>slipway plan {escape(plan.environment)}</p>"
        f"<h1>{escape(plan.platform)} <span>{escape(plan.environment)} · {escape(plan.region)}</span></h1>"
        f"<p class=against>Compared with {escape(plan.against)}. Plan <code>{plan.hash[:12]}</code></p>"
        f"<p class='verdict {verdict}'>{text}</p></header>"
    )
    if plan.refusals:
        items = "".join(f"<li>{escape(refusal.said)}.</li>" for refusal in plan.refusals)
        yield f"<section class=refusals><ul>{items}</ul></section>"


def _tiles(plan: Plan) -> Iterator[str]:
    total = plan.costs.total
    budget = "no budget" if plan.budget_usd_micros is None else f"budget {_whole(plan.budget_usd_micros)}"
    moved = "" if plan.difference is None else f", {_signed(plan.difference.expected)} against before"
    open_findings = sum(not finding.accepted for finding in plan.findings)
    met = Counter(objective.verdict for objective in plan.objectives)
    resources = sum(stack.resources for stack in plan.stacks)
    tiles = (
        ("Expected a month", _whole(total.expected), f"{budget}{moved}"),
        ("Idle floor", _whole(total.floor), "with nobody asking anything"),
        ("At its most", _whole(total.high), f"and {_whole(total.low)} with little use"),
        ("Changes", counted(plan.changes), f"{resources} resources in {len(plan.stacks)} stacks"),
        ("Findings", str(open_findings), f"{len(plan.findings) - open_findings} accepted with a reason"),
        ("Recovery", f"{met['met']} met", f"{met['accepted']} accepted gaps, {met['missed']} missed"),
    )
    inner = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><p>{escape(note)}</p></div>"
        for name, value, note in tiles
    )
    yield f"<dl class=tiles>{inner}</dl>"


def _costs(plan: Plan) -> Iterator[str]:
    total = plan.costs.total
    rows = [_cost_row(line, amounts, count, total.expected) for line, amounts, count in grouped(plan.costs.lines)]
    yield "<section><h2>Costs of a month</h2>"
    yield "<table class=costs><thead><tr><th>What<th>Idle<th>Low<th>Expected<th>High<th>Price</tr></thead><tbody>"
    yield from (row for row, expected in rows if expected >= total.expected // 200)
    yield f"</tbody><tfoot><tr><th>Together{_money(total)}<td></tr>"
    if plan.difference is not None:
        figures = "".join(f"<td>{_signed(value)}" for value in _four(plan.difference))
        yield f"<tr><th>Difference{figures}<td></tr>"
    yield "</tfoot></table>"
    small = [row for row, expected in rows if expected < total.expected // 200]
    if small:
        yield f"<details><summary>{len(small)} more below half a percent each</summary><table class=costs><tbody>"
        yield from small
        yield "</tbody></table></details>"
    yield from _each_line(plan.costs.lines)
    yield f"<p class=note>List prices on demand, without taxes, free tiers and discounts. {_days(plan)}"
    yield f" Assumed: {escape(plan.costs.assumed)}. What models are asked is charged besides.</p>"
    if plan.costs.unpriced:
        items = "".join(f"<li>{escape(place)}: {escape(what)}</li>" for place, what in plan.costs.unpriced)
        yield f"<div class=warn><p>Without a price, and not in the sums:</p><ul>{items}</ul></div>"
    yield "</section>"


def _cost_row(line: CostLine, amounts: Amounts, count: int, whole: int) -> tuple[str, int]:
    share = 100 * amounts.expected / whole if whole else 0
    times = f" <small>×{count}</small>" if count > 1 else ""
    note = f" <small>{escape(line.note)}</small>" if line.note else ""
    text = (
        f"<tr><th style='--share:{share:.1f}%'>{escape(short(line.kind))}{times}{_money(amounts)}"
        f"<td><a href='{escape(line.source)}'>${line.usd}</a> per {escape(line.unit)}{note}</tr>"
    )
    return text, amounts.expected


def _each_line(lines: tuple[CostLine, ...]) -> Iterator[str]:
    yield f"<details><summary>Each of the {len(lines)} lines, by resource</summary><table class=costs><tbody>"
    for line in lines:
        yield (
            f"<tr><th>{escape(line.stack)}/{escape(line.resource)} <small>{escape(line.what)}</small>"
            f"{_money(line.amounts)}<td><a href='{escape(line.source)}'>${line.usd}</a> per {escape(line.unit)},"
            f" {line.as_of.isoformat()}</tr>"
        )
    yield "</tbody></table></details>"


def _days(plan: Plan) -> str:
    days = sorted({line.as_of.isoformat() for line in plan.costs.lines})
    return f"Looked at on {', '.join(days)}; each price leads to its page." if days else ""


def _changes(plan: Plan) -> Iterator[str]:
    yield f"<section><h2>Changes</h2><p>{escape(counted(plan.changes))}.</p>"
    told = [change for change in plan.changes if change.action != "create"]
    if told:
        yield f"<ul class=changes>{''.join(map(_change, told))}</ul>"
    for stack in plan.stacks:
        created = [change for change in plan.changes if change.action == "create" and change.stack == stack.part]
        if created:
            kinds = ", ".join(f"{n} {short(kind)}" for kind, n in Counter(c.kind for c in created).most_common(6))
            yield (
                f"<details><summary><b>{escape(stack.part)}</b> {len(created)} created in {escape(stack.region)}"
                f" <small>{escape(kinds)} …</small></summary><ul class=changes>{''.join(map(_change, created))}</ul>"
                "</details>"
            )
    yield "</section>"


def _change(change: Change) -> str:
    extra = [text for held, text in ((change.data, "holds data"), (change.kept, "the old one is kept")) if held]
    extra += [] if change.certain else ["or changed: the service decides"]
    said = "; ".join((*change.why, *extra))
    loss = " loss" if change.loses_data else ""
    return (
        f"<li class='{change.action}{loss}'><i>{_MARKS[change.action]}</i> {escape(change.place)}"
        f" <small>{escape(short(change.kind))}</small>{f' <em>{escape(said)}</em>' if said else ''}</li>"
    )


def _findings(plan: Plan) -> Iterator[str]:
    still, accepted = _parted(plan.findings)
    yield "<section><h2>Findings</h2>"
    yield f"<ul class=findings>{''.join(map(_finding, still))}</ul>" if still else "<p>None is open.</p>"
    if accepted:
        yield f"<details><summary>{len(accepted)} accepted, each with its reason beside the resource</summary>"
        yield f"<ul class=findings>{''.join(map(_finding, accepted))}</ul></details>"
    yield "</section>"


def _parted(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    every = list(findings)
    return [each for each in every if not each.accepted], [each for each in every if each.accepted]


def _finding(finding: Finding) -> str:
    state = "accepted" if finding.accepted else finding.severity
    reason = f" <em>{escape(finding.accepted)}</em>" if finding.accepted else ""
    return (
        f"<li class={state}><code>{escape(finding.rule)}</code> <b>{escape(finding.place)}</b>"
        f" {escape(finding.message)}{reason}</li>"
    )


def _objectives(plan: Plan) -> Iterator[str]:
    if not plan.objectives:
        return
    first = plan.objectives[0]
    asked = f"RPO {first.wanted_rpo}, RTO {first.wanted_rto}" if first.wanted_rpo else "none are declared"
    yield f"<section><h2>Recovery objectives</h2><p>Asked: {escape(asked)}.</p><table><thead><tr>"
    yield "<th>Store<th>After which loss<th>By<th>RPO<th>RTO<th></tr></thead><tbody>"
    for each in plan.objectives:
        why = f": {escape(each.why)}" if each.why else ""
        yield (
            f"<tr class='{each.verdict.replace(' ', '-')}'><th>{escape(each.store)}<td>{escape(each.loss)}"
            f"<td>{escape(each.means)}<td>{each.rpo or 'never'}<td>{each.rto or 'never'}<td>{each.verdict}{why}</tr>"
        )
    yield "</tbody></table></section>"


def _preflight(plan: Plan) -> Iterator[str]:
    items = "".join(
        f"<li class={each.state}><b>{escape(each.check)}</b> {escape(each.said)}</li>" for each in plan.preflight
    )
    yield f"<section><h2>Preflight</h2><ul class=findings>{items}</ul></section>"


def _four(amounts: Amounts) -> tuple[int, int, int, int]:
    return amounts.floor, amounts.low, amounts.expected, amounts.high


def _money(amounts: Amounts) -> str:
    return "".join(f"<td>{usd(value)}" for value in _four(amounts))


def _whole(micros: int) -> str:
    return f"${micros / 1_000_000:,.0f}"


def _signed(micros: int) -> str:
    return f"{'−' if micros < 0 else '+'}${abs(micros) / 1_000_000:,.2f}"


_SECTIONS = (_head, _tiles, _costs, _changes, _findings, _objectives, _preflight)
