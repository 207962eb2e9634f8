"""Where the first key is told: never into the log of a server that others reach."""

import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slipway.app.home import Credentials, Home
from slipway.cli import serve
from slipway.runtime.settings import Settings

STARTED = cast("Any", SimpleNamespace(url="http://x:8700", api_key="sk-secret", pid=7, parts=["identity"]))


@pytest.mark.parametrize(
    ("host", "terminal", "told"),
    [
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("localhost", False, True),
        ("0.0.0.0", False, False),
        ("10.0.0.1", False, False),
        ("a.example", False, False),
        ("0.0.0.0", True, True),
    ],
)
def test_the_key_is_printed_on_loopback_or_a_terminal_only(
    host: str, terminal: bool, told: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    serve._announce(STARTED, Settings(host=host, home=Path("/h")), as_json=False)
    said = capsys.readouterr().out
    assert ("sk-secret" in said) is told
    assert ("in /h/credentials" in said) is not told


def test_its_file_is_the_users_alone(tmp_path: Path):
    home = Home(tmp_path)
    home.save_credentials(Credentials("http://x", "sk-secret"))
    assert stat.S_IMODE((tmp_path / "credentials").stat().st_mode) == 0o600
