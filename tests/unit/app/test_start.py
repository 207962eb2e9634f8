"""Starts that cannot be: each ends with one error whose sentence says what to change, and leaves nothing behind."""

import socket
from pathlib import Path

import psycopg
import pytest

from slipway.app.home import Home
from slipway.app.lifecycle import PartFailed, Started, describe, run
from slipway.base.errors import Misconfigured, SlipwayError, Unavailable
from slipway.runtime.postgres import EmbeddedPostgres
from slipway.runtime.settings import Settings


def refused(target: str, tmp_path: Path, **settings: object) -> str:
    """What a start that fails says."""
    ready: list[Started] = []
    chosen = Settings.model_validate({"home": tmp_path / "home", "port": 0} | settings)
    with pytest.raises(SlipwayError) as caught:
        run(chosen, target, ready.append)
    assert ready == []
    if chosen.home.is_dir():
        home = Home(chosen.home)
        home.acquire()
        home.release()
        assert EmbeddedPostgres(chosen.home).pid is None
        assert not list((chosen.home / "run").glob("*"))
    return describe(caught.value)


def test_an_unknown_target(tmp_path: Path):
    assert refused("billing", tmp_path).startswith("'billing' is not a target: choose all, or some of identity")


def test_no_target(tmp_path: Path):
    assert "is not a target" in refused(" , ", tmp_path)


def test_a_port_in_use(tmp_path: Path):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        said = refused("all", tmp_path, port=port)
    assert said == f"Port {port} on 127.0.0.1 cannot be used (Address already in use): choose another with --port."


def test_a_missing_manifest(tmp_path: Path):
    assert "absent.yaml" in refused("all", tmp_path, manifest=tmp_path / "absent.yaml")


def test_a_manifest_with_an_unknown_key(tmp_path: Path):
    path = tmp_path / "slipway.yaml"
    path.write_text("slipway: 1\nname: x\ncolour: blue\n")
    assert "slipway.yaml:3" in refused("all", tmp_path, manifest=path)


def test_a_model_that_nobody_serves(tmp_path: Path):
    path = tmp_path / "slipway.yaml"
    path.write_text("slipway: 1\nname: x\nmodels:\n  default: nobody\n")
    assert "nobody" in refused("all", tmp_path, manifest=path)


def test_an_environment_without_a_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert "environment 'prod'" in refused("all", tmp_path, environment="prod")


def test_a_home_that_is_no_folder(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    assert "cannot be used: Not a directory" in refused("all", tmp_path, home=tmp_path / "file" / "home")
    assert "cannot be used" in refused("all", tmp_path, home=tmp_path / "file")


def test_a_part_whose_peers_are_nowhere(tmp_path: Path, postgres):
    said = refused("chat", tmp_path, database_url=postgres.app_url, database_owner_url=postgres.owner_url)
    assert "SLIPWAY_RETRIEVAL_URL" in said


def test_a_part_that_cannot_be_wired_closes_what_those_before_it_opened(tmp_path: Path, postgres):
    said = refused(
        "gateway,retrieval,chat", tmp_path, database_url=postgres.app_url, database_owner_url=postgres.owner_url
    )
    assert "SLIPWAY_MEMORY_URL" in said
    with psycopg.connect(postgres.owner_url) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'slipway leases'"
        assert connection.execute(query).fetchone() == (0,)


def test_peers_without_a_common_secret(tmp_path: Path, postgres):
    said = refused(
        "gateway",
        tmp_path,
        database_url=postgres.app_url,
        database_owner_url=postgres.owner_url,
        identity_url="http://127.0.0.1:1",
    )
    assert "SLIPWAY_SECRET_KEY" in said


def test_a_database_of_another_kind(tmp_path: Path):
    assert "must begin with postgresql://" in refused("all", tmp_path, database_url="mysql://u:hush@x/y")


def test_an_address_that_is_none(tmp_path: Path):
    said = refused("all", tmp_path, database_url="postgresql://u:hush@[x:notaport/y")
    assert "not a URL" in said
    assert "hush" not in said


def test_a_database_that_does_not_answer(tmp_path: Path):
    said = refused("all", tmp_path, database_url="postgresql://u:hush@127.0.0.1:1/y")
    assert said.startswith("The database does not answer")
    assert "hush" not in said


def test_a_wrong_password(tmp_path: Path, postgres):
    wrong = postgres.app_url.replace("postgresql://slipway_app:", "postgresql://slipway_app:x")
    said = refused("all", tmp_path, database_url=wrong, database_owner_url=postgres.owner_url)
    assert said.startswith("The database refuses this login")


def test_a_login_that_may_not_become_the_application(tmp_path: Path, postgres):
    """The embedded owner only migrates; it cannot also serve."""
    assert "GRANT slipway_app TO" in refused("all", tmp_path, database_url=postgres.owner_url)


def test_objects_nowhere(tmp_path: Path, postgres):
    said = refused(
        "all",
        tmp_path,
        database_url=postgres.app_url,
        database_owner_url=postgres.owner_url,
        objects_url="ftp://x",
    )
    assert "SLIPWAY_OBJECTS_URL" in said


def test_a_part_that_fails_is_named_with_its_cause():
    error = PartFailed("retrieval.workflows failed: the process stops")
    error.__cause__ = Unavailable("The database is away.", detail="private")
    assert describe(error) == "retrieval.workflows failed: the process stops: The database is away."
    error.__cause__ = KeyError("x")
    assert describe(error) == "retrieval.workflows failed: the process stops: 'x'"
    wrapped = Misconfigured("Say this.")
    wrapped.__cause__ = OSError("and not this")
    assert describe(wrapped) == "Say this."
