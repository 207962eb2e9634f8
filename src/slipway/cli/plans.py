"""`slipway plans`: usage plans, and who is on which."""

from typing import Annotated

import typer

from slipway.api.plans import BudgetStanding, Plan
from slipway.base.money import format_usd
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, run

app = typer.Typer(help="Usage plans, and who is on which.", no_args_is_help=True)
PlanArgument = Annotated[str | None, typer.Argument(help="Name of the plan.")]
NoneOption = Annotated[bool, typer.Option("--none", help="Take the plan away instead.")]


@app.command("list")
def list_plans(
    home: HomeOption = None, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """List the plans, who of your tenant is on which, and how far its budgets are used."""
    plans = run(client_of(home, url, api_key), lambda client: client.plans())
    if as_json:
        typer.echo(plans.model_dump_json())
        return
    for plan in plans.plans:
        typer.echo(f"{plan.name:<20} {_limits(plan)}")
    typer.echo(f"Your tenant: {plans.effective or 'no plan, no limits'}")
    for assignment in plans.assignments:
        if assignment.subject != "tenant":
            typer.echo(f"{assignment.subject}: {assignment.plan}")
    for standing in plans.standing:
        typer.echo(_standing(standing))


@app.command("set-tenant")
def set_tenant(
    tenant_id: Annotated[str, typer.Argument(help="Id of the tenant.")],
    plan: PlanArgument = None,
    none: NoneOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Put a tenant on a plan; it holds in every process within two seconds."""
    _check(plan, none)
    run(client_of(home, url, api_key), lambda client: client.plan_set_tenant(tenant_id, plan))
    typer.echo(_done(tenant_id, plan))


@app.command("set-key")
def set_key(
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    plan: PlanArgument = None,
    none: NoneOption = False,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Put a key of your tenant on a plan, which holds besides the tenant's own."""
    _check(plan, none)
    run(client_of(home, url, api_key), lambda client: client.plan_set_key(key_id, plan))
    typer.echo(_done(key_id, plan))


def _check(plan: str | None, none: bool) -> None:
    if (plan is None) != none:
        raise typer.BadParameter("write the name of a plan, or --none to take the plan away")


def _done(subject: str, plan: str | None) -> str:
    return f"{subject} is on no plan of its own." if plan is None else f"{subject} is on the plan {plan}."


def _limits(plan: Plan) -> str:
    limits = (
        (plan.requests_per_second, "{:,} requests/s"),
        (plan.burst, "burst {:,}"),
        (plan.tokens_per_minute, "{:,} tokens/min"),
        (plan.tokens_per_month, "{:,} tokens/month"),
        (plan.max_output_tokens, "{:,} tokens/answer"),
    )
    told = [text.format(value) for value, text in limits if value is not None]
    if plan.budget_usd_micros is not None:
        told.append(f"{format_usd(plan.budget_usd_micros)}/month")
    return ", ".join(told) or "no limits"


def _standing(standing: BudgetStanding) -> str:
    def amount(value: int) -> str:
        return format_usd(value) if standing.unit == "usd_micros" else f"{value:,} tokens"

    until = f"until {standing.resets_at:%Y-%m-%d}"
    spent = f"{amount(standing.spent)} of it spent"
    return f"{standing.subject}: {amount(standing.taken)} of {amount(standing.limit)} taken, {spent}, {until}"
