"""Quantities: what they mean, that they write themselves back, and what a bare number is told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.base.errors import InvalidRequest
from slipway.manifest.units import Count, Duration, Money, Percent, Quantity, Size, TimeOfDay


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("4h", 14_400), ("7d", 604_800), ("2w", 1_209_600), ("1y", 31_536_000), ("1500ms", 2)],
)
def test_a_duration_is_seconds_rounded_up(text: str, seconds: int) -> None:
    assert Duration.parse(text).seconds == seconds


def test_days_are_rounded_up_so_that_a_retention_is_never_shorter() -> None:
    assert Duration.parse("25h").days == 2
    assert Duration.parse("1y").days == 365


@pytest.mark.parametrize(
    ("quantity", "held"),
    [
        (Size.parse("512MiB").bytes, 536_870_912),
        (Size.parse("100MB").bytes, 100_000_000),
        (Money.parse("$0.05").usd_micros, 50_000),
        (Money.parse("$1,200").usd_micros, 1_200_000_000),
        (Percent.parse("80%").basis_points, 8_000),
        (Percent.parse("99.95%").basis_points, 9_995),
        (Count.parse("1M").count, 1_000_000),
        (Count.parse("10k").count, 10_000),
        (Count.parse("250").count, 250),
    ],
)
def test_each_unit_becomes_its_integer(quantity: int, held: int) -> None:
    assert quantity == held


def test_a_time_of_day_knows_its_days() -> None:
    assert TimeOfDay.parse("07:00 UTC weekdays") == TimeOfDay(7, 0, weekdays_only=True)
    assert TimeOfDay.parse("22:30 UTC") == TimeOfDay(22, 30, weekdays_only=False)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Duration, "30"),
        (Duration, "1.5h"),
        (Duration, "-1d"),
        (Duration, "1 fortnight"),
        (Duration, "٣d"),
        (Duration, "101y"),
        (Size, "5"),
        (Size, "5Gb"),
        (Money, "5"),
        (Money, "5 EUR"),
        (Percent, "80"),
        (Percent, "0.123%"),
        (Percent, "1001%"),
        (Count, "1.5M"),
        (Count, "many"),
        (TimeOfDay, "24:00 UTC"),
        (TimeOfDay, "22:00"),
        (TimeOfDay, "22:00 CET"),
    ],
)
def test_what_is_no_quantity_is_refused_with_what_to_write(kind: type[Quantity], text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        kind.parse(text)
    assert text in refused.value.public


def test_a_refusal_gives_examples() -> None:
    with pytest.raises(InvalidRequest, match="'30' is not a duration: write 30s, 5m, 4h, 7d or 1y"):
        Duration.parse("30")


@given(st.integers(0, 10**15))
@settings(deadline=None)
def test_money_percent_and_count_write_themselves_back(number: int) -> None:
    assert Money.parse(str(Money(number))) == Money(number)
    assert Count.parse(str(Count(number))) == Count(number)
    assert Percent.parse(str(Percent(number % 100_001))) == Percent(number % 100_001)


@given(st.integers(0, 5_000), st.sampled_from(["ms", "s", "m", "h", "d", "w"]))
@settings(deadline=None)
def test_a_duration_writes_itself_back(number: int, unit: str) -> None:
    duration = Duration.parse(f"{number}{unit}")
    assert Duration.parse(str(duration)) == duration


@given(st.integers(0, 999_999_999), st.sampled_from(["B", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]))
@settings(deadline=None)
def test_a_size_writes_itself_back(number: int, unit: str) -> None:
    size = Size.parse(f"{number}{unit}")
    assert Size.parse(str(size)) == size


@given(st.text(max_size=12))
@settings(deadline=None)
def test_no_text_gives_anything_but_a_quantity_or_a_refusal(text: str) -> None:
    for kind in (Duration, Size, Money, Percent, Count, TimeOfDay):
        try:
            parsed = kind.parse(text)
        except InvalidRequest:
            continue
        assert kind.parse(str(parsed)) == parsed
