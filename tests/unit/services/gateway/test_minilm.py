"""MiniLM against a second implementation of the same mathematics, and its cache against damage and races."""

import math
import multiprocessing
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from slipway.base.errors import InvalidRequest, Misconfigured
from slipway.services.gateway.minilm import MiniLM, graph, model, weights

LONG = "Laptops may be returned within thirty days of delivery, unless the seal is broken. " * 30
TEXTS = [
    "How many days do I have to return a laptop?",
    "",
    "Straße, naïve café — Ωμέγα 漢字かな 🙂 ١٢٣",
    "one",
    LONG,
    "Table of prices\nBasic\t10 USD\nTeam\t25 USD\nEnterprise\ton request",
    " ".join(f"word{number}" for number in range(60)),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("minilm")


@pytest.fixture(scope="module")
def minilm(cache: Path):
    made = MiniLM(cache)
    yield made
    made.close()


class Reference:
    """BERT's forward pass as its paper has it, in float64, for one text at a time."""

    def __init__(self) -> None:
        folder = weights.model_folder()
        self.tensors = {k: v.astype(np.float64) for k, v in load_file(folder / "model.safetensors").items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(256)
        self.tokenizer.no_padding()

    def embed(self, text: str) -> NDArray[np.float64]:
        ids = self.tokenizer.encode(text).ids
        t = self.tensors
        x = t["embeddings.word_embeddings.weight"][ids]
        x = x + t["embeddings.position_embeddings.weight"][: len(ids)]
        x = x + t["embeddings.token_type_embeddings.weight"][0]
        x = self.norm(x, "embeddings.LayerNorm")
        for layer in range(6):
            x = self.layer(x, f"encoder.layer.{layer}.")
        mean = x.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def layer(self, x, name):
        heads = [
            self.dense(x, f"{name}attention.self.{part}").reshape(len(x), 12, 32).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        ]
        query, key, value = heads
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(32)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        context = (scores @ value).transpose(1, 0, 2).reshape(len(x), 384)
        attended = self.dense(context, f"{name}attention.output.dense")
        x = self.norm(attended + x, f"{name}attention.output.LayerNorm")
        wide = self.dense(x, f"{name}intermediate.dense")
        gelu = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        return self.norm(self.dense(gelu, f"{name}output.dense") + x, f"{name}output.LayerNorm")

    def dense(self, x, name):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return centred / scale * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]


def test_vectors_are_those_of_the_reference(minilm: MiniLM) -> None:
    reference = Reference()
    embedded = minilm.embed(TEXTS)
    assert embedded.vectors.shape == (len(TEXTS), 384)
    assert embedded.vectors.dtype == np.float32
    for text, vector in zip(TEXTS, embedded.vectors, strict=True):
        assert abs(float(np.linalg.norm(vector)) - 1) < 1e-5
        assert float(reference.embed(text) @ vector) > 0.999999


def test_a_batch_gives_what_each_text_gives_alone(minilm: MiniLM) -> None:
    texts = TEXTS * 3
    together = minilm.embed(texts).vectors
    for text, vector in zip(TEXTS, together, strict=False):
        assert np.allclose(minilm.embed([text]).vectors[0], vector, atol=2e-6)
    assert np.allclose(together[: len(TEXTS)], together[len(TEXTS) : 2 * len(TEXTS)], atol=2e-6)


def test_tokens_are_counted_cut_for_usage_and_whole_for_chunking(minilm: MiniLM) -> None:
    assert minilm.embed(["", "hello world", LONG]).tokens == (2, 4, 256)
    empty, short, long = minilm.count_tokens(["", "hello world", LONG])
    assert (empty, short) == (0, 2)
    assert long > 400
    # Beyond 256 word pieces nothing is read.
    cut, more = minilm.embed([LONG, LONG + "An entirely different ending."]).vectors
    assert np.array_equal(cut, more)


def test_nothing_is_loaded_before_the_first_text(tmp_path: Path) -> None:
    lazy = MiniLM(tmp_path / "new")
    assert lazy.embed([]).vectors.shape == (0, 384)
    assert lazy.count_tokens([]) == []
    assert not lazy.loaded
    assert not (tmp_path / "new").exists()


def test_constructing_it_imports_no_engine() -> None:
    code = (
        "import sys, pathlib; from slipway.services.gateway.minilm import MiniLM; MiniLM(pathlib.Path('x'));"
        "print({'onnx', 'onnxruntime', 'tokenizers', 'safetensors', 'torch'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_close_gives_back_and_a_later_call_loads_again(cache: Path) -> None:
    made = MiniLM(cache)
    before = made.embed(["hello"]).vectors
    assert made.loaded
    made.close()
    assert not made.loaded
    assert np.array_equal(made.embed(["hello"]).vectors, before)
    made.close()


def test_text_that_is_no_unicode_is_refused(minilm: MiniLM) -> None:
    with pytest.raises(InvalidRequest):
        minilm.embed(["fine", "half a pair \ud800"])


def test_threads_that_start_together_load_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    real = model._loaded
    monkeypatch.setattr(model, "_loaded", lambda folder: loads.append(folder) or real(folder))
    made = MiniLM(cache, threads=2)
    gate = threading.Barrier(6)
    found: list[NDArray[np.float32]] = []

    def one() -> None:
        gate.wait()
        found.append(made.embed(TEXTS).vectors)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made.close()
    assert len(loads) == 1
    assert len(found) == 6
    assert all(np.allclose(vectors, found[0], atol=2e-6) for vectors in found)


def test_damaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = weights.model_folder()
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((original / name).read_bytes())
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(50_000_000)
        byte = file.read(1)
        file.seek(50_000_000)
        file.write(bytes([byte[0] ^ 1]))
    monkeypatch.setattr(model, "model_folder", lambda: tmp_path)
    made = MiniLM(tmp_path / "cache")
    with pytest.raises(Misconfigured) as refused:
        made.embed(["hello"])
    assert "reinstall" in refused.value.public
    assert str(tmp_path) not in refused.value.public
    assert not made.loaded
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(Misconfigured):
        made.embed(["hello"])


def test_absent_weights_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "a_wheel_that_is_not_installed")
    with pytest.raises(Misconfigured, match="not installed"):
        weights.model_folder()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an intact cache: each test that damages it ends by showing that it is as before."""
    folder = tmp_path_factory.mktemp("built")
    return graph.cached_graph(weights.model_folder() / "model.safetensors", folder).parent


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("name", ["graph.onnx", "weights.bin", "seal"])
@pytest.mark.parametrize("damage", ["cut", "changed", "absent"])
def test_a_damaged_cache_is_built_again(built: Path, name: str, damage: str) -> None:
    before = _contents(built)
    path = built / name
    if damage == "absent":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(before[name][: len(before[name]) // 2])
    else:
        path.write_bytes(before[name][:-40] + b"\xff" + before[name][-39:])
    again = graph.cached_graph(weights.model_folder() / "model.safetensors", built.parent)
    assert again.parent == built
    assert _contents(built) == before
    assert sorted(before) == ["graph.onnx", "lock", "seal", "weights.bin"]


def test_an_intact_cache_is_left_alone(built: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in built.iterdir() if path.name != "lock"}
    graph.cached_graph(weights.model_folder() / "model.safetensors", built.parent)
    assert {path.name: path.stat().st_mtime_ns for path in built.iterdir() if path.name != "lock"} == before


def _embed_in_new_process(folder: Path, out: "multiprocessing.Queue[bytes]") -> None:
    out.put(MiniLM(folder, threads=1).embed(["hello"]).vectors.tobytes())


def test_processes_that_build_together_agree(tmp_path: Path, minilm: MiniLM) -> None:
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    processes = [context.Process(target=_embed_in_new_process, args=(tmp_path, out)) for _ in range(3)]
    for process in processes:
        process.start()
    found = [np.frombuffer(out.get(timeout=60), dtype=np.float32) for _ in processes]
    for process in processes:
        process.join(timeout=30)
        assert process.exitcode == 0
    expected = minilm.embed(["hello"]).vectors[0]
    assert all(np.allclose(vector, expected, atol=2e-6) for vector in found)


def test_a_cache_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Misconfigured, match="cache folder"):
        MiniLM(tmp_path / "file").embed(["hello"])


@pytest.mark.parametrize(
    "text", [LONG * 10, "a\n\nb " * 4000, "漢字" * 5000, " " * 10_000 + "x", "é\u0301 \u0301" * 4000, "a\tb" * 6000]
)
def test_a_text_in_portions_is_read_as_it_is_whole(minilm, text) -> None:
    whole = Tokenizer.from_file(str(weights.model_folder() / "tokenizer.json"))
    whole.no_truncation()
    whole.no_padding()
    ids = whole.encode(text).ids
    assert minilm.count_tokens([text]) == [len(ids) - 2]
    assert model._read(whole, text) == (ids if len(ids) <= 256 else [*ids[:255], 102])


def test_an_endless_text_does_not_hold_the_process(minilm) -> None:
    minilm.count_tokens(["loaded"])
    work = threading.Thread(target=minilm.count_tokens, args=(["who is it? " * 200_000],))
    work.start()
    longest_s, last_s = 0.0, time.monotonic()
    while work.is_alive():
        time.sleep(0.005)
        now_s = time.monotonic()
        longest_s, last_s = max(longest_s, now_s - last_s), now_s
    assert longest_s < 1.0  # it was 5 s
