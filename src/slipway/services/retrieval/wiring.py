"""Wires retrieval: documents and their ingestion, search and collections."""

from typing import Final

from slipway.api.client import Client
from slipway.base.errors import Misconfigured
from slipway.runtime.database import Database
from slipway.runtime.objects.upload_tokens import UploadTokens
from slipway.runtime.part import Foundation, Part
from slipway.runtime.telemetry import trace_headers
from slipway.runtime.workflows import Worker
from slipway.services.retrieval.adapter_chunks import Chunks
from slipway.services.retrieval.adapter_chunks_index import VectorIndexes
from slipway.services.retrieval.adapter_chunks_reading import ChunkViews
from slipway.services.retrieval.adapter_embeddings import Embeddings, SharedEmbeddings
from slipway.services.retrieval.adapter_extraction import ExtractApart
from slipway.services.retrieval.adapter_tokenizer import WordPieces
from slipway.services.retrieval.collections_service import Collections
from slipway.services.retrieval.documents import Documents
from slipway.services.retrieval.documents_text import TextCache
from slipway.services.retrieval.ingestion import Ingestion
from slipway.services.retrieval.routes_documents import document_routes, object_routes
from slipway.services.retrieval.routes_search import search_routes
from slipway.services.retrieval.search import Search
from slipway.services.retrieval.uploads import Uploads

_LEASE_CONNECTIONS: Final = 2  # one renews leases while another claims


async def wire(foundation: Foundation) -> Part:
    """Everything below `/v1/documents`, `/v1/search` and `/v1/collections`, and the workers of this process."""
    database, objects = foundation.database, foundation.objects
    owner_url = foundation.database_owner_url
    if owner_url is None:
        raise Misconfigured(
            "The part 'retrieval' makes indexes, which only the owner of the tables may: "
            "set SLIPWAY_DATABASE_OWNER_USER and SLIPWAY_DATABASE_OWNER_PASSWORD."
        )
    leases = await Database.open(foundation.database_url, max_connections=_LEASE_CONNECTIONS, name="slipway leases")
    address = foundation.address("gateway")
    gateway = Client(address.url, unix_socket=address.unix_socket, context=trace_headers, part="gateway")
    embeddings = Embeddings(gateway, foundation.tokens, foundation.manifest.models.embeddings)
    chunks, texts, shared = Chunks(), TextCache(objects), SharedEmbeddings(embeddings)
    ingestion = Ingestion(database, objects, ExtractApart(), shared, chunks, texts, WordPieces()).workflow
    worker = Worker(database, leases, width=foundation.settings.ingestion_workers)
    uploads = Uploads(database, objects, ingestion, worker.wake)
    documents = Documents(database, objects, chunks, texts, worker.wake)
    worker.workflows = (ingestion, uploads.workflow, documents.removal)
    return Part(
        name="retrieval",
        routes=(
            document_routes(documents, uploads),
            search_routes(Search(ChunkViews(database), embeddings), Collections(database)),
            object_routes(objects, UploadTokens(foundation.secrets), uploads, foundation.clock),
        ),
        start=(objects.sweep,),
        run={
            "workflows": worker.run,
            "uploads": uploads.watch,
            "indexes": VectorIndexes(database, owner_url).run,
        },
        stop=(shared.close, gateway.close, leases.close),
    )
