"""Wire types of the chat service: an answer made of the tenant's own documents."""

from pydantic import Field, field_validator

from slipway.api.sessions import Citation
from slipway.api.wire import Identifier, Request, Response


class ChatRequest(Request):
    """A question; it goes on in `session_id` when one is given and opens a session otherwise."""

    message: str = Field(min_length=1, max_length=8_000)
    session_id: Identifier | None = None
    collection: Identifier | None = None
    model: str | None = Field(default=None, max_length=128)
    stream: bool = False

    @field_validator("message")
    @classmethod
    def _asks(cls, message: str) -> str:
        if not message.strip():
            raise ValueError("write a question: white space asks nothing")  # nor should it open a session
        return message


class ChatUsage(Response):
    """What the answer took and cost, as the gateway booked it."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd_micros: int


class ChatResponse(Response):
    """An answer with the spans it rests on; streamed as SSE events `token`, `citations`, `usage`, `done`."""

    session_id: str
    answer: str
    citations: list[Citation]
    usage: ChatUsage
    model: str
