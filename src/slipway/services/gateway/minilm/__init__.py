"""all-MiniLM-L6-v2 on onnxruntime: the embedding model that needs no network and no torch (ADR 0005)."""

from slipway.services.gateway.minilm.model import Embedded, MiniLM

__all__ = ["Embedded", "MiniLM"]
