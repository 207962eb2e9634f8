"""Conversations, answers and streams of any content, for the tests of translators and relays."""

import json
from dataclasses import replace
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from slipway.services.gateway.conversation import (
    Answer,
    CacheMark,
    Conversation,
    Counted,
    Delta,
    Document,
    Finished,
    Image,
    Message,
    OutputSchema,
    Reasoning,
    RedactedThinking,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ThinkingRedacted,
    ThinkingSigned,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolChoice,
    ToolResult,
)
from slipway.services.gateway.models import Tokens

# A busy machine is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAMES = st.text("abcdef_", min_size=1, max_size=8)
JSON = st.dictionaries(WORDS, st.integers(-9, 9) | WORDS | st.lists(st.booleans(), max_size=2), max_size=3)
SCHEMAS = JSON.map(lambda extra: {"type": "object", "properties": {"x": {"default": extra}}})
MARKS = st.none() | st.builds(CacheMark, st.sampled_from([None, "5m", "1h"]))
NO_MARK = st.none()
ARGUMENTS = JSON.map(lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":")))
BASE64 = st.just("aGk=")


def texts(marks):
    return st.builds(Text, WORDS, marks)


def images(marks):
    kept = st.builds(Image, st.sampled_from(["image/png", "image/jpeg"]), BASE64, cache=marks)
    return kept | st.builds(Image, url=WORDS.map("https://images.example/".__add__), cache=marks)


def calls(marks):
    return st.builds(ToolCall, NAMES, NAMES, ARGUMENTS, marks)


THOUGHTS = st.builds(Thinking, WORDS, WORDS) | st.builds(RedactedThinking, WORDS)


def _tuples(items, least=0):
    return st.lists(items, min_size=least, max_size=3).map(tuple)


def anthropic_conversations():
    documents = st.builds(Document, st.just("application/pdf"), BASE64, title=st.none() | WORDS, cache=MARKS)
    documents |= st.builds(Document, st.just("text/plain"), WORDS, cache=MARKS)
    documents |= st.builds(Document, url=WORDS, cache=MARKS)
    said = texts(MARKS) | images(MARKS) | documents
    results = st.builds(ToolResult, NAMES, _tuples(said), st.booleans(), MARKS)
    messages = st.builds(Message, st.just("user"), _tuples(said | results, 1))
    messages |= st.builds(Message, st.just("assistant"), _tuples(texts(MARKS) | calls(MARKS) | THOUGHTS, 1))
    messages |= st.builds(Message, st.just("system"), _tuples(texts(MARKS), 1))
    reasoning = st.none() | st.builds(Reasoning, st.sampled_from(["adaptive", "off"]))
    reasoning |= st.builds(Reasoning, st.just("budget"), st.integers(1024, 9999))
    return _conversations(
        messages,
        MARKS,
        reasoning=reasoning,
        effort=st.sampled_from([None, "low", "medium", "high", "xhigh", "max"]),
        top_k=st.none() | st.integers(1, 99),
        max_tokens=st.integers(1, 9999),
        output=st.none() | st.builds(OutputSchema, SCHEMAS),
        cache=MARKS,
    ).map(_parallel_said_with_tools)


def openai_conversations():
    documents = st.builds(Document, st.just("application/pdf"), BASE64, title=WORDS)
    details = st.sampled_from([None, "low", "high"])
    pictures = st.tuples(images(NO_MARK), details).map(lambda pair: replace(pair[0], detail=pair[1]))
    said = texts(NO_MARK) | pictures | documents
    user = st.builds(Message, st.just("user"), _tuples(said, 1))
    results = st.builds(ToolResult, NAMES, _tuples(texts(NO_MARK)))
    results = st.builds(Message, st.just("user"), _tuples(results, 1))
    later = st.builds(Message, st.just("system"), _tuples(texts(NO_MARK), 1))
    assistant = st.builds(
        lambda thoughts, words, called: Message("assistant", thoughts + words + called),
        _tuples(THOUGHTS),
        _tuples(texts(NO_MARK)),
        _tuples(calls(NO_MARK)),
    )
    rounds = st.lists(st.one_of(user.map(lambda one: [one]), st.tuples(assistant, results, user | later).map(list)))
    messages = rounds.map(lambda each: [message for one in each for message in one])
    return _conversations(
        None,
        NO_MARK,
        messages=st.tuples(user, messages).map(lambda pair: (pair[0], *pair[1])),
        seed=st.none() | st.integers(0, 99),
        max_tokens=st.none() | st.integers(1, 9999),
        output=st.none() | st.builds(OutputSchema, SCHEMAS, NAMES),
        thinking=st.sampled_from([(None, None), (Reasoning("off"), None), (Reasoning("adaptive"), "minimal")]),
    ).map(_parallel_said_with_tools)


def _conversations(message, marks, *, messages=None, thinking=None, **others):
    built = st.builds(
        Conversation,
        messages=messages if messages is not None else _tuples(message, 1),
        system=_tuples(texts(marks)),
        tools=_tuples(st.builds(Tool, NAMES, SCHEMAS, st.none() | WORDS, st.none() | st.booleans(), marks)),
        tool_choice=st.none()
        | st.builds(ToolChoice, st.sampled_from(["auto", "none", "any"]))
        | st.builds(ToolChoice, st.just("tool"), NAMES),
        parallel_tools=st.none() | st.booleans(),
        temperature=st.none() | st.floats(0, 1),
        top_p=st.none() | st.floats(0, 1),
        stop=_tuples(WORDS),
        user_id=st.none() | WORDS,
        **others,
    )
    if thinking is None:
        return built
    return st.tuples(built, thinking).map(lambda pair: replace(pair[0], reasoning=pair[1][0], effort=pair[1][1]))


def _parallel_said_with_tools(conversation):
    """Whether calls may be parallel has no place where there is no call, and Anthropic keeps it in `tool_choice`."""
    choice = conversation.tool_choice
    if not conversation.tools or (choice is not None and choice.kind == "none"):
        return replace(conversation, parallel_tools=None)
    if choice is None and conversation.parallel_tools is not None:
        return replace(conversation, tool_choice=ToolChoice("auto"))
    return conversation


TOKENS = st.builds(
    lambda plain, read, written, hour, completion: Tokens(
        plain + read + written + hour, completion, read, written, hour
    ),
    *[st.integers(0, 99)] * 5,
)


@st.composite
def answers(draw, hour=True):
    """An answer as a model gives it: thinking, then text, then calls of different ids."""
    thoughts = draw(_tuples(THOUGHTS))
    said = tuple(draw(st.lists(texts(NO_MARK), max_size=1)))
    called = tuple(ToolCall(f"call_{n}", draw(NAMES), draw(ARGUMENTS)) for n in range(draw(st.integers(0, 3))))
    stop = "tool_calls" if called else draw(st.sampled_from(["end", "length", "refusal"]))
    tokens = draw(TOKENS)
    if not hour:
        tokens = replace(tokens, cache_write=tokens.cache_write + tokens.cache_write_1h, cache_write_1h=0)
    return Answer(thoughts + said + called, stop, None, tokens, "msg_1", "m")


def pieces(text, cuts):
    """The text, cut at each of these places."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(places)]


def deltas(answer: Answer, cuts: list[int]) -> list[Delta]:
    """The answer as a stream of deltas, its texts cut at these places."""
    made: list[Delta] = [Started(answer.id, answer.model)]
    count = 0
    for part in answer.parts:
        if isinstance(part, Text):
            made += [TextDelta(piece) for piece in pieces(part.text, cuts)]
        elif isinstance(part, Thinking):
            made += [ThinkingDelta(piece) for piece in pieces(part.text, cuts)]
            made += [ThinkingSigned(part.signature)] if part.signature else []
        elif isinstance(part, RedactedThinking):
            made.append(ThinkingRedacted(part.data))
        else:
            made.append(ToolCallStarted(count, part.id, part.name))
            made += [ToolCallDelta(count, piece) for piece in pieces(part.arguments, cuts)]
            count += 1
    made.append(Finished(answer.stop, answer.stop_sequence))
    return [*made, Counted(answer.tokens)] if answer.tokens else made
