"""The home folder: who holds it, what is secret in it, and sockets whose path is too long."""

import os
import stat
from pathlib import Path

import pytest

from slipway.app.home import Credentials, Home, write_private
from slipway.base.errors import Conflict, Misconfigured


def test_one_holder_at_a_time_and_the_other_is_told_who(tmp_path: Path):
    first, second = Home(tmp_path / "home"), Home(tmp_path / "home")
    first.acquire()
    first.announce("pid 17, http://127.0.0.1:1234")
    with pytest.raises(Conflict, match=r"\(pid 17, http://127.0.0.1:1234\)"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_the_secret_is_made_once_and_private(tmp_path: Path):
    home = Home(tmp_path)
    secret = home.secret()
    assert len(secret) == 32
    assert Home(tmp_path).secret() == secret
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_credentials_come_back_and_broken_ones_are_refused_with_a_remedy(tmp_path: Path):
    home = Home(tmp_path)
    assert home.credentials() is None
    home.save_credentials(Credentials("http://x", "k"))
    assert home.credentials() == Credentials("http://x", "k")
    (tmp_path / "credentials").write_text("{")
    with pytest.raises(Misconfigured, match="delete it and start the platform again"):
        home.credentials()


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "credentials"
    write_private(path, "before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, "after")
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["credentials"]


def test_a_socket_below_a_long_path_goes_elsewhere(tmp_path: Path):
    near, far = Home(tmp_path), Home(tmp_path / ("x" * 100))
    far.path.mkdir()
    assert near.socket().parent == near.path / "run"
    path = far.socket()
    assert len(os.fsencode(path)) <= 100
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()
