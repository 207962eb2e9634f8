"""Several gateway processes on one PostgreSQL, in front of providers that note for each request what they charged.

A request is known by a name of its own everywhere: it is the subject of its credential, so that of its usage row, and
stands in its text, where the provider reads it.
"""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from slipway.base.callers import Caller, Scope
from slipway.runtime.authentication.internal import InternalTokens
from slipway.runtime.postgres import EmbeddedAddresses
from tests.platforms import Platform, platform
from tests.services.processes import KEY_VARIABLE
from tests.services.provider_bill import Line
from tests.services.provider_simulator import KEY, Simulator
from tests.services.simulator_anthropic import AnthropicSimulator

SECRET = "a secret of all gateways of this test with 32 bytes and more"
TOKENS = InternalTokens([SECRET.encode()])


class ByName:
    """Of a simulated provider: which requests it saw, and its line on the bill for each; `pause_s` before an answer.

    The last word of a question is the behaviour, in place of the model's id: so one model does everything, and its
    failures are never so many in a row that it is left alone.
    """

    pause_s = 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: Counter[str] = Counter()
        self.charged: dict[str, list[Line]] = {}

    def model(self, scope, request: dict[str, Any]) -> str:
        name, _, behaviour = request["messages"][-1]["content"].partition(" ")
        self.asked[name] += 1
        if behaviour:
            request["model"] = behaviour
        return request["model"]

    async def serve(self, path, model, request, answer) -> None:
        if self.pause_s:
            await asyncio.sleep(self.pause_s)
        await super().serve(path, model, request, answer)

    def book(self, asked, answer) -> Line:
        line = super().book(asked, answer)
        self.charged.setdefault(asked.question.partition(" ")[0], []).append(line)
        return line


class OpenAIByName(ByName, Simulator):
    pass


class AnthropicByName(ByName, AnthropicSimulator):
    def model(self, scope, request: dict[str, Any]) -> str:
        content = request["messages"][-1]["content"]
        if not isinstance(content, str):  # as the gateway's translation writes it
            request["messages"][-1]["content"] = "".join(block["text"] for block in content)
        return super().model(scope, request)


class Fleet:
    """The processes, by number; each has a home of its own and all have one folder of journals."""

    def __init__(self, folder: Path, manifest: str, addresses: EmbeddedAddresses, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._stacks: dict[int, ExitStack] = {}
        self.addresses = addresses
        self.journals = folder / "journals"
        self.running: dict[int, Platform] = {}
        (folder / "slipway.yaml").write_text(manifest)
        self._settings = {
            "SLIPWAY_MANIFEST": str(folder / "slipway.yaml"),
            "SLIPWAY_DATABASE_URL": addresses.app_url,
            "SLIPWAY_DATABASE_OWNER_URL": addresses.owner_url,
            "SLIPWAY_DATABASE_POOL_SIZE": "4",
            "SLIPWAY_SECRET_KEY": SECRET,
            "SLIPWAY_JOURNAL": str(self.journals),
            KEY_VARIABLE: KEY,
            **settings,
        }

    def start(self, *numbers: int) -> None:
        """Starts processes, all at once; one that was killed comes back on its home."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._start, numbers))

    def kill(self, number: int) -> None:
        """`kill -9`."""
        self.running.pop(number).kill()

    def stop(self) -> None:
        """Drains every process."""
        for running in self.running.values():
            running.process.send_signal(signal.SIGTERM)
        for stack in self._stacks.values():
            stack.close()
        self.running.clear()
        self._stacks.clear()

    def live_journals(self) -> int:
        """How many journals there are: one for each process, once those of the killed have been adopted."""
        return sum(1 for path in self.journals.iterdir() if not path.name.startswith("."))

    def log(self, number: int) -> str:
        """What a process has logged."""
        return "".join(self.running[number].log)

    def _start(self, number: int) -> None:
        if number in self._stacks:
            self._stacks[number].close()
        stack = self._stacks[number] = ExitStack()
        home = self._folder / f"home-{number}"
        arguments = ("serve", "--target", "gateway")
        self.running[number] = stack.enter_context(platform(home, arguments=arguments, settings=self._settings))

    def rows(self, tenant_id: str) -> list[dict[str, Any]]:
        """The tenant's usage rows, from the database."""
        return self.query(tenant_id, "SELECT * FROM usage_row ORDER BY at")

    def query(self, tenant_id: str, statement: str) -> list[dict[str, Any]]:
        """What a statement finds in a tenant."""
        with psycopg.connect(self.addresses.app_url, row_factory=dict_row) as connection:
            connection.execute("SET LOCAL ROLE slipway_app")
            connection.execute("SELECT set_config('slipway.tenant', %s, true)", (tenant_id,))
            return connection.execute(statement).fetchall()


def token(tenant_id: str, name: str, *scopes: Scope) -> str:
    """A credential whose subject is `name`."""
    chosen = frozenset(scopes or [Scope.MODELS_USE])
    return TOKENS.mint(Caller(tenant_id, name, chosen), chosen, actor="test")


@dataclass
class Outcome:
    """What a client saw of one request. `status` 0: no answer; `broken`: it ended before it was whole."""

    name: str
    gateway: int
    behaviour: str = ""
    status: int = 0
    content: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    refused: bool = False
    hung_up: bool = False
    broken: bool = False

    @property
    def whole(self) -> bool:
        """Whether the answer came to its end and is no error."""
        return self.status == 200 and not self.broken and not self.hung_up and b'"error"' not in self.content


class Client:
    """One connection to one gateway, kept while it lasts: raw, so that ten thousand requests take little time."""

    def __init__(self, url: str) -> None:
        self._address = url.removeprefix("http://").split(":")
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, path: str, credential: str, body: Any, outcome: Outcome, *, stays_s: float = 60.0) -> Outcome:
        """Sends a request and notes what comes back; hangs up after `stays_s`."""
        try:
            async with asyncio.timeout(stays_s):
                await self._exchange(path, credential, json.dumps(body).encode(), outcome)
        except TimeoutError:
            outcome.hung_up = True
            self.close()
        except ConnectionRefusedError:
            outcome.refused = True
            self.close()
        except (OSError, EOFError):
            outcome.broken = True
            self.close()
        return outcome

    def close(self) -> None:
        """Hangs up."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None

    async def end(self) -> None:
        """Closes the connection; its socket is closed in the loop's next turn."""
        self.close()
        await asyncio.sleep(0)

    async def _exchange(self, path: str, credential: str, content: bytes, outcome: Outcome) -> None:
        if self._reader is None or self._writer is None:
            host, port = self._address
            self._reader, self._writer = await asyncio.open_connection(host, int(port))
        reader = self._reader
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {credential}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        self._writer.write(head.encode() + content)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        outcome.status = int(lines[0].split()[1])
        outcome.headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines[1:])}
        if "content-length" in outcome.headers:
            outcome.content = await reader.readexactly(int(outcome.headers["content-length"]))
            return
        while size := int(await reader.readuntil(b"\r\n"), 16):
            outcome.content += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
