"""Wires the chat part."""

from slipway.api.client import Client
from slipway.runtime.part import Foundation, Part
from slipway.runtime.telemetry import trace_headers
from slipway.services.chat.adapter_parts import GatewayPart, MemoryPart, RetrievalPart
from slipway.services.chat.routes import chat_routes
from slipway.services.chat.service import ChatService


def wire(foundation: Foundation) -> Part:
    """Chat over the clients of retrieval, gateway and memory."""
    clients = {name: _client(foundation, name) for name in ("retrieval", "gateway", "memory")}
    service = ChatService(
        RetrievalPart(clients["retrieval"], foundation.tokens),
        GatewayPart(clients["gateway"], foundation.tokens, foundation.manifest.models.default),
        MemoryPart(clients["memory"], foundation.tokens),
    )
    return Part(name="chat", routes=[chat_routes(service)], stop=[client.close for client in clients.values()])


def _client(foundation: Foundation, part: str) -> Client:
    address = foundation.address(part)
    return Client(address.url, unix_socket=address.unix_socket, context=trace_headers, part=part)
