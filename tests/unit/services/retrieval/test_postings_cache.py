"""What the cache of postings keeps, for whom, and for how long."""

from slipway.services.retrieval.postings_cache import Lexicon, PostingsCache
from slipway.services.retrieval.search_models import Postings

HERE = Lexicon("ten_a", 0, "1")


def postings(size: int = 8192) -> Postings:
    return Postings(1, b"", b"", bytes(size))


def test_kept_postings_take_the_occurrences_of_the_query_that_asks() -> None:
    cache = PostingsCache()
    cache.put(HERE, "flow", postings())
    found = cache.get(HERE, "flow", 3)
    assert found is not None
    assert (found.occurrences, found.packed) == (3, bytes(8192))
    assert cache.get(HERE, "heat", 1) is None


def test_another_version_tenant_or_collection_is_another_lexicon() -> None:
    cache = PostingsCache()
    cache.put(HERE, "flow", postings())
    for other in (Lexicon("ten_a", 0, "2"), Lexicon("ten_b", 0, "1"), Lexicon("ten_a", 1 << 32, "1")):
        assert cache.get(other, "flow", 1) is None
    cache.put(Lexicon("ten_a", 0, "2"), "flow", postings(4096))
    assert cache.get(HERE, "flow", 1) is None


def test_short_and_huge_postings_are_not_kept() -> None:
    cache = PostingsCache(limit_bytes=40_000)
    cache.put(HERE, "short", postings(4092))
    cache.put(HERE, "huge", postings(10_004))
    assert cache.get(HERE, "short", 1) is None
    assert cache.get(HERE, "huge", 1) is None


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    cache = PostingsCache(limit_bytes=40_000)
    for lexeme in "abcd":
        cache.put(HERE, lexeme, postings(10_000))
    assert cache.get(HERE, "a", 1) is not None
    cache.put(HERE, "c", postings(10_000))
    cache.put(HERE, "e", postings(10_000))
    assert [lexeme for lexeme in "abcde" if cache.get(HERE, lexeme, 1) is not None] == ["a", "c", "d", "e"]
