"""A process that runs ingestion's workflows until it is killed; started by `ingestion_stand.worker_process`.

The slow ports below are how a test stops time inside a step: they do what the real ones do, later.
"""

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path

from slipway.api.client import Client
from slipway.base.callers import Caller
from slipway.runtime.database import Connection, Database
from slipway.runtime.workflows import Execution, Step, Worker, Workflow
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_embeddings import Embeddings
from slipway.services.retrieval.adapter_tokenizer import WordPieces
from slipway.services.retrieval.documents_text import TextCache
from slipway.services.retrieval.extraction.isolation import extract_isolated_async
from slipway.services.retrieval.ingestion import Ingestion
from tests.services.ingestion_stand import foundation


class Slow:
    """Says in a file which step it is in, then waits for as long as told."""

    def __init__(self, spec: str, log: str | None) -> None:
        name, _, seconds = spec.partition(":")
        self.step, self.seconds, self.log = name, float(seconds or 0), Path(log) if log else None

    def note(self, step: str) -> float:
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{step}\n")
        return self.seconds if step == self.step else 0.0

    async def extract(self, *arguments, **options):
        extracted = await extract_isolated_async(*arguments, **options)
        await asyncio.sleep(self.note("extract"))
        return extracted

    def count_tokens(self, pieces: WordPieces):
        def count(texts):
            time.sleep(self.note("chunk"))
            return pieces(texts)

        return count


class SlowChunks(Chunks):
    def __init__(self, slow: Slow) -> None:
        self._slow = slow

    async def publish(
        self, connection: Connection, caller: Caller, document_id: str, collection: str, title: str
    ) -> None:
        await super().publish(connection, caller, document_id, collection, title)
        await asyncio.sleep(self._slow.note("store"))  # everything is written, nothing is committed


class SlowEmbeddings(Embeddings):
    slow: Slow

    async def embed(self, caller, texts):
        vectors = await super().embed(caller, texts)
        await asyncio.sleep(self.slow.note("embed"))
        return vectors


def newer(workflow: Workflow, log: Path) -> Workflow:
    """The release after this one: a step more, in the middle."""

    async def look(execution: Execution) -> None:
        with log.open("a") as file:
            file.write("look\n")

    extract, chunk, *rest = workflow.steps
    return Workflow(workflow.kind, (extract, chunk, Step("look", look), *rest), workflow.failed)


async def main(options: dict) -> None:
    slow = Slow(options["slow"], options["log"])
    database = await Database.open(options["database_url"], max_connections=6)
    leases = await Database.open(options["database_url"], max_connections=2)
    grounds = foundation(database, options["database_url"], Path(options["home"]), options["gateway_url"])
    embeddings = SlowEmbeddings(Client(options["gateway_url"]), grounds.tokens, "minilm")
    embeddings.slow = slow
    ingestion = Ingestion(
        database,
        grounds.objects,
        slow.extract,
        embeddings,
        SlowChunks(slow),
        TextCache(grounds.objects),
        slow.count_tokens(WordPieces()),
    )
    workflow = ingestion.workflow
    if slow.step == "newer":
        workflow = newer(workflow, Path(options["log"]))
    await Worker(database, leases, (workflow,), width=2, lease_s=options["lease_s"]).run()


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(main(json.loads(sys.argv[1])))
