"""`slipway keys`: API keys of the tenant."""

from typing import Annotated

import typer

from slipway.api.identity import KeyRequest
from slipway.base.callers import Role
from slipway.cli.connection import HomeOption, JsonOption, KeyOption, UrlOption, client_of, request_of, run

app = typer.Typer(help="API keys of your tenant.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    role: Annotated[Role, typer.Option("--role", help="What the key may do.")] = Role.SERVICE,
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key; its secret is shown this once."""
    request = request_of(KeyRequest, name=name, role=role)
    key = run(client_of(home, url, api_key), lambda client: client.key_create(request))
    typer.echo(key.model_dump_json() if as_json else f"{key.secret}\n  id {key.id}; kept nowhere: store it now")


@app.command("list")
def list_keys(
    home: HomeOption = None, url: UrlOption = None, api_key: KeyOption = None, as_json: JsonOption = False
) -> None:
    """List the keys of your tenant."""
    page = run(client_of(home, url, api_key), lambda client: client.key_list())
    if as_json:
        typer.echo(page.model_dump_json())
        return
    for key in page.items:
        state = "revoked" if key.revoked_at else "active"
        typer.echo(f"{key.id}  {key.prefix}…  {key.role.value:<15} {state:<8} {key.name}")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    home: HomeOption = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
) -> None:
    """Revoke a key; every process refuses it within a second."""
    run(client_of(home, url, api_key), lambda client: client.key_revoke(key_id))
    typer.echo(f"Revoked {key_id}.")
