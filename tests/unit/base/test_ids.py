"""Identifiers: sortable, unique, recognisable."""

import time
from concurrent.futures import ThreadPoolExecutor

from slipway.base.ids import is_id, new_id


def test_ids_never_go_backwards_within_a_process():
    ids = [new_id("doc") for _ in range(20_000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_ids_of_threads_are_unique():
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_id("req"), range(20_000)))
    assert len(set(ids)) == len(ids)


def test_ids_of_a_later_millisecond_sort_after():
    first = new_id("doc")
    time.sleep(0.002)
    assert new_id("doc") > first


def test_is_id_knows_its_kind_and_form():
    assert is_id(new_id("doc"), "doc")
    assert not is_id(new_id("doc"), "ses")
    assert not is_id("doc_" + "u" * 26, "doc")  # `u` is not of the alphabet
    assert not is_id("doc_", "doc")
