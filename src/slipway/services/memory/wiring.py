"""Wires the memory part."""

from slipway.runtime.part import Foundation, Part
from slipway.services.memory.adapter_postgres import PostgresSessions
from slipway.services.memory.routes import session_routes


def wire(foundation: Foundation) -> Part:
    """Sessions on the platform's database."""
    return Part(name="memory", routes=[session_routes(PostgresSessions(foundation.database))])
