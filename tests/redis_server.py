"""A real Redis for tests: on a free port of loopback, in a folder of its own, ended by its process id."""

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.debian import program


@contextmanager
def redis_server(port: int | None = None) -> Iterator[str]:
    """The URL of a Redis that runs meanwhile and keeps nothing."""
    executable = program("redis-server", package="redis-server")
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="slipway-redis-") as folder:
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        process = subprocess.Popen([executable, *options], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        try:
            _until_it_answers(process, port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait(timeout=10)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _until_it_answers(process: subprocess.Popen, port: int) -> None:
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        assert process.poll() is None, "redis-server has ended"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return
        except OSError:
            time.sleep(0.02)
    raise AssertionError("redis-server does not answer")
