"""Requirement marks name rows that exist, with a kind of proof that the row asks for."""

import pytest

from tests.requirements import collected, table

pytestmark = pytest.mark.documents


def test_every_mark_names_a_row_and_a_kind_of_its_proof():
    rows = table()
    assert len(rows) > 70
    for row, kind, test in collected():
        assert row in rows, f"{test}: there is no requirement {row}"
        assert kind in rows[row].kinds, f"{test}: {row} is not proven by {kind!r} but by {sorted(rows[row].kinds)}"
