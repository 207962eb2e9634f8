"""`GET /v1/models` and `GET /v1/models/{model}` on bare ASGI: hot only so that their errors are OpenAI's.

Budget: what `hot_http` states.
"""

from slipway.services.gateway.directory import Directory
from slipway.services.gateway.hot_http import Exchange, Handler
from slipway.services.gateway.wire import dumped, model_body

_PREFIX = "/v1/models/"


def model_list_handler(directory: Directory) -> Handler:
    """Lists every model that is served."""
    models = [directory.model(name) for name in directory.names()]
    content = dumped({"object": "list", "data": [model_body(model.name, model.provider) for model in models]})

    async def handle(exchange: Exchange) -> None:
        await exchange.answer(content)

    return handle


def model_view_handler(directory: Directory) -> Handler:
    """Describes one model."""

    async def handle(exchange: Exchange) -> None:
        model = directory.model(exchange.scope["path"].removeprefix(_PREFIX))
        await exchange.answer(dumped(model_body(model.name, model.provider)))

    return handle
