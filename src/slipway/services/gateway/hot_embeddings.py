"""`POST /v1/embeddings` on bare ASGI.

Budget: what `hot_http` states; vectors come encoded from the provider, so that the event loop only joins bytes.
"""

from slipway.services.gateway.hot_http import Exchange, Handler
from slipway.services.gateway.models import EmbeddingRequest
from slipway.services.gateway.service import Gateway
from slipway.services.gateway.wire import embedding_request, embeddings_body, json_object


def embeddings_handler(gateway: Gateway) -> Handler:
    """Answers embeddings with `gateway`."""

    async def handle(exchange: Exchange) -> None:
        request = await exchange.read(_read)
        model, embeddings, prompt_tokens, cost_usd_micros = await gateway.embed(
            exchange.caller, exchange.terms, exchange.request_id, request
        )
        cost = (b"x-slipway-cost-usd-micros", b"%d" % cost_usd_micros)
        await exchange.answer(embeddings_body(model, embeddings, prompt_tokens, cost_usd_micros), (cost,))

    return handle


def _read(content: bytes) -> EmbeddingRequest:
    return embedding_request(json_object(content))
