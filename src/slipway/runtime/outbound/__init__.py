"""Calls to servers outside, over pooled HTTP/1.1 connections: what stands between the gateway and model providers.

A client of its own because the known ones cost more than all the rest of a request (ADR 11).
"""

from slipway.runtime.outbound.client import Outbound
from slipway.runtime.outbound.stream import Answer, Stream
from slipway.runtime.outbound.terms import Bounds, Deadlines, HeaderList, ShareExceeded

__all__ = ["Answer", "Bounds", "Deadlines", "HeaderList", "Outbound", "ShareExceeded", "Stream"]
