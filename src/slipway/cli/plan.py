"""`slipway plan`: what a deploy would create, change, replace, destroy, cost and break, before anything is touched.

Exit code 0: nothing to do. 2: there are changes. 1: refused, or the manifest does not hold. What it needs of the cloud
is imported when the verb runs, so that no other verb pays for it.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.manifest import ManifestProblems, open_document

if TYPE_CHECKING:
    from slipway.infra.inputs import Inputs
    from slipway.operations.plan import Comparison, Plan


def plan(
    environment: Annotated[str, typer.Argument(help="The environment, like dev or prod.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="The manifest.")] = Path("slipway.yaml"),
    against: Annotated[
        str | None, typer.Option("--against", help="Compare with another manifest: a file, or a git reference.")
    ] = None,
    allow_data_loss: Annotated[
        list[str] | None, typer.Option("--allow-data-loss", help="A resource whose data may go, like data/Cluster.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask nothing of AWS, whatever credentials there are.")] = (
        False
    ),
    pull_request: Annotated[int | None, typer.Option("--pull-request", help="The number, for a preview.")] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the plan as one page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a deploy would do, cost and break, and refuse what must not be."""
    try:
        loaded = open_document(manifest).loaded(environment)
    except ManifestProblems as refused:
        typer.echo(refused.public, err=True)
        raise typer.Exit(1) from refused
    _needs_infra()
    made = _planned(loaded.manifest, environment, manifest, _inputs(pull_request), against, offline, allow_data_loss)
    if html is not None:
        _write(html, made)
    if as_json:
        _print_json(made)
    else:
        from slipway.cli.plan_text import print_plan

        print_plan(made)
    raise typer.Exit(made.exit_code)


def _needs_infra() -> None:
    missing = [name for name in ("aws_cdk", "cdk_nag", "cfnlint", "boto3") if find_spec(name) is None]
    if missing:
        raise Misconfigured(f"Planning needs the extra `infra`, of which {', '.join(missing)} is not installed.")


def _planned(
    manifest: Any,
    environment: str,
    file: Path,
    inputs: "Inputs",
    against: str | None,
    offline: bool,
    allowed: list[str] | None,
) -> "Plan":
    from slipway.operations.plan import plan as made_by
    from slipway.runtime.settings import cache_folder

    compared = _comparison(against, offline, file, environment, inputs)
    return made_by(manifest, environment, inputs, compared, allow_data_loss=allowed or (), cache=cache_folder())


def _comparison(against: str | None, offline: bool, file: Path, environment: str, inputs: "Inputs") -> "Comparison":
    from slipway.operations.account import account_of
    from slipway.operations.baseline import declared
    from slipway.operations.plan import Comparison

    account = None if offline else account_of()
    why = "--offline asks nothing of AWS" if offline else "there are no credentials for AWS"
    baseline = None if against is None else declared(against, file, environment, inputs)
    return Comparison(baseline=baseline, account=account, skipped_because=why)


def _inputs(pull_request: int | None) -> "Inputs":
    from slipway.infra.inputs import Inputs

    return Inputs(pull_request=pull_request)


def _print_json(made: "Plan") -> None:
    import json

    typer.echo(json.dumps(made.as_data(), indent=2, ensure_ascii=False))


def _write(file: Path, made: "Plan") -> None:
    from slipway.cli.plan_page import page

    try:
        file.write_text(page(made), "utf-8")
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be written: {error.strerror}.") from error
