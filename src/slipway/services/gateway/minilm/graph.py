"""The ONNX graph of the model, built once from the safetensors and kept in a cache folder.

`model` calls `cached_graph` when it loads. The graph is written with onnxruntime's fused operators (domain
com.microsoft), because that measured best on 2 cores on 2026-11-21: 61 passages of 128 tokens per second
against 55 with one QKV product and MultiHeadAttention. Weights stand in a file of their own that onnxruntime
maps, so that processes share the word embeddings and nobody holds a parsed copy. `onnx` is imported only
while building.

It refuses to trust a cache whose bytes differ from its seal: such a cache is built again.
"""

import contextlib
import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from slipway.base.errors import Misconfigured, StorageFull
from slipway.services.gateway.minilm.weights import SHA256, sha256_of

# Part of the cache's key: raise it with every change of what is built here.
GRAPH_VERSION = 1

LAYERS = 6
HIDDEN = 384
HEADS = 12
MAX_TOKENS = 256
_EPSILON = 1e-12  # layer_norm_eps of the model's config.json

_GRAPH, _WEIGHTS, _SEAL = "graph.onnx", "weights.bin", "seal"
# onnxruntime maps external data from page boundaries only; smaller tensors are cheaper inside the graph.
_PAGE_BYTES = 4096
_INLINE_BYTES = 1024

_log = logging.getLogger(__name__)


def cached_graph(weights: Path, cache_folder: Path) -> Path:
    """The path of the graph, built first when the cache has no intact one. Safe in several processes at once.

    `weights` are verified safetensors. StorageFull or Misconfigured when the cache folder cannot be written.
    """
    folder = cache_folder / f"all-minilm-l6-v2-{SHA256[:16]}-{GRAPH_VERSION}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            if not _intact(folder):
                _log.info("building the embedding model's graph")
                _build(weights, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                "No room left for the embedding model's cache: free 100 MB.", detail=str(error)
            ) from error
        raise Misconfigured(
            "The embedding model's cache folder cannot be written: check its owner and permissions.",
            detail=str(error),
        ) from error
    return folder / _GRAPH


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the file's lock; the system lets go of it when a process dies."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _intact(folder: Path) -> bool:
    """Whether both files are there and are byte for byte what was sealed."""
    try:
        return (folder / _SEAL).read_text() == _seal(folder)
    except (OSError, UnicodeDecodeError):
        return False


def _seal(folder: Path) -> str:
    return "".join(f"{sha256_of(folder / name)}  {name}\n" for name in (_GRAPH, _WEIGHTS))


def _build(weights: Path, folder: Path) -> None:
    """Write both files, then the seal. Each is replaced whole: a process may have the old one mapped."""
    from safetensors import safe_open

    with _replaced(folder / _WEIGHTS) as data, safe_open(weights, "np") as tensors:
        builder = _Builder(tensors.get_tensor, data)
        builder.build()
    with _replaced(folder / _GRAPH) as file:
        file.write(builder.serialized())
    with _replaced(folder / _SEAL) as file:
        file.write(_seal(folder).encode())


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is complete on the disk."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class _Builder:
    """Writes the graph node by node, and its weights tensor by tensor: one of them is in memory at a time."""

    def __init__(self, tensor: Any, data: BinaryIO) -> None:
        self._tensor = tensor
        self._data = data
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def build(self) -> None:
        """ids, mask int32[b, s] → vectors float32[b, 384] of length 1."""
        hidden = self._embeddings()
        for layer in range(LAYERS):
            hidden = self._layer(layer, hidden)
        self._pooling(hidden)

    def _embeddings(self) -> str:
        prefix = "embeddings."
        positions = self._tensor(f"{prefix}position_embeddings.weight")[:MAX_TOKENS]
        # Every token of a single text is of type 0: its embedding is a constant and goes into the positions.
        positions = positions + self._tensor(f"{prefix}token_type_embeddings.weight")[0]
        inputs = [
            self._weight("words", self._tensor(f"{prefix}word_embeddings.weight")),
            self._weight("positions", positions),
            "",
            *self._norm("embeddings_norm", f"{prefix}LayerNorm"),
            "mask",
        ]
        self._fused("EmbedLayerNormalization", ["ids", "", *inputs], ["x0", "lengths"], epsilon=_EPSILON)
        return "x0"

    def _layer(self, layer: int, hidden: str) -> str:
        source = f"encoder.layer.{layer}."
        name = f"layer{layer}_"
        parts = [f"{source}attention.self.{part}" for part in ("query", "key", "value")]
        qkv = np.concatenate([self._tensor(f"{part}.weight").T for part in parts], axis=1)
        qkv_bias = np.concatenate([self._tensor(f"{part}.bias") for part in parts])
        weights = [self._weight(f"{name}qkv", qkv), self._weight(f"{name}qkv_bias", qkv_bias)]
        context = f"{name}context"
        self._fused("Attention", [hidden, *weights, "lengths"], [context], num_heads=HEADS)
        attended = self._dense_and_norm(f"{name}attention", f"{source}attention.output", context, hidden)

        inner = f"{source}intermediate.dense"
        weight = self._weight(f"{name}inner", self._tensor(f"{inner}.weight").T)
        self._node("MatMul", [attended, weight], [f"{name}wide"])
        bias = self._weight(f"{name}inner_bias", self._tensor(f"{inner}.bias"))
        self._fused("BiasGelu", [f"{name}wide", bias], [f"{name}gelu"])
        return self._dense_and_norm(f"{name}output", f"{source}output", f"{name}gelu", attended)

    def _dense_and_norm(self, name: str, source: str, value: str, skip: str) -> str:
        """LayerNorm(value · W + bias + skip)."""
        weight = self._weight(f"{name}_dense", self._tensor(f"{source}.dense.weight").T)
        self._node("MatMul", [value, weight], [f"{name}_product"])
        norm = self._norm(f"{name}_norm", f"{source}.LayerNorm")
        bias = self._weight(f"{name}_bias", self._tensor(f"{source}.dense.bias"))
        inputs = [f"{name}_product", skip, *norm, bias]
        self._fused("SkipLayerNormalization", inputs, [f"{name}_out"], epsilon=_EPSILON)
        return f"{name}_out"

    def _pooling(self, hidden: str) -> None:
        """The sum over a text's tokens, normalized: what the mean would give, as length is divided out."""
        from onnx import TensorProto

        self._weight("axis1", np.array([1], dtype=np.int64))
        self._node("Cast", ["mask"], ["mask_float"], to=TensorProto.FLOAT)
        self._node("Unsqueeze", ["mask_float", "axis1"], ["mask_row"])
        self._node("MatMul", ["mask_row", hidden], ["sum_row"])
        self._node("Squeeze", ["sum_row", "axis1"], ["sum"])
        self._node("LpNormalization", ["sum"], ["vectors"], axis=1, p=2)

    def _norm(self, name: str, source: str) -> list[str]:
        gamma = self._weight(f"{name}_gamma", self._tensor(f"{source}.weight"))
        return [gamma, self._weight(f"{name}_beta", self._tensor(f"{source}.bias"))]

    def _weight(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant: small ones inside the graph, large ones in the data file."""
        from onnx import TensorProto, numpy_helper

        if values.nbytes <= _INLINE_BYTES:
            self._initializers.append(numpy_helper.from_array(values, name))
            return name
        self._data.write(b"\0" * (-self._data.tell() % _PAGE_BYTES))
        proto = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=values.shape)
        proto.data_location = TensorProto.EXTERNAL
        facts = {"location": _WEIGHTS, "offset": self._data.tell(), "length": values.nbytes}
        for key, fact in facts.items():
            proto.external_data.add(key=key, value=str(fact))
        self._data.write(np.ascontiguousarray(values, dtype="<f4").data)
        self._initializers.append(proto)
        return name

    def _fused(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        self._node(operator, inputs, outputs, domain="com.microsoft", **attributes)

    def _node(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        from onnx import helper

        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))

    def serialized(self) -> bytes:
        """The graph without its large weights, some 20 kB."""
        from onnx import TensorProto, helper

        inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["b", "s"]) for name in ("ids", "mask")]
        output = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["b", HIDDEN])
        graph = helper.make_graph(self._nodes, "all-minilm-l6-v2", inputs, [output], self._initializers)
        # Versions of 2023 that every onnxruntime we admit reads, whatever onnx itself would write by default.
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())
