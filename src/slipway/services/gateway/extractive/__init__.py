"""The model `extractive`: answers a chat by quoting the sources it is given, and invents nothing (see `answerer`)."""

from slipway.services.gateway.extractive.answerer import NO_SOURCES, NOTHING_RELEVANT, Answer, Extractive

__all__ = ["NOTHING_RELEVANT", "NO_SOURCES", "Answer", "Extractive"]
