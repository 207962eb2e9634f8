"""How fast MiniLM embeds here: passages of 128 tokens per second, and milliseconds for one text.

Run it with `python bench/embedder.py [--json]`. It backs the figures in ADR 0005 and is the rate that ingestion
is compared with.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from slipway.services.gateway.minilm import MiniLM

VOCABULARY = (
    "return within days delivery seal broken team price month order support report manager holiday travel office "
    "security storage region network access policy contract salary"
)
WORDS = VOCABULARY.split()
PASSAGES = 96


def passage(number: int, tokens: int) -> str:
    """A text of exactly `tokens` word pieces, two of which are the marks: each of the words is one piece."""
    return " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(tokens - 2))


def best_ms(minilm: MiniLM, text: str, repeats: int) -> float:
    """The median time of one call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        minilm.embed([text])
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2] * 1000


def measure(cache: Path, threads: int) -> dict[str, float]:
    minilm = MiniLM(cache, threads=threads)
    passages = [passage(number, 128) for number in range(PASSAGES)]
    start = time.perf_counter()
    counted = set(minilm.embed(passages[:2]).tokens)
    load_ms = (time.perf_counter() - start) * 1000
    if counted != {128}:
        raise SystemExit(f"the passages should have 128 tokens, they have {sorted(counted)}")
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        minilm.embed(passages)
        rates.append(PASSAGES / (time.perf_counter() - start))
    result = {
        "threads": threads,
        "first_call_ms": round(load_ms),
        "passages_per_s": round(sorted(rates)[1], 1),
        "one_passage_ms": round(best_ms(minilm, passages[0], 20), 1),
        "one_question_ms": round(best_ms(minilm, "How many days do I have to return a laptop?", 40), 1),
    }
    minilm.close()
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    wants_json = arguments.parse_args().json
    with tempfile.TemporaryDirectory() as folder:
        MiniLM(Path(folder)).embed(["builds the graph"])
        results = [measure(Path(folder), threads) for threads in (1, 2)]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if wants_json:
        print(json.dumps({"runs": results, "peak_rss_mib": peak_mib}))
        return
    print("threads  first call  passages/s  one passage  one question")
    for result in results:
        print(
            f"{result['threads']:7}  {result['first_call_ms']:7} ms  {result['passages_per_s']:10}"
            f"  {result['one_passage_ms']:8} ms  {result['one_question_ms']:9} ms"
        )
    print(f"peak memory of this process, graph built in it: {peak_mib} MiB")


if __name__ == "__main__":
    main()
