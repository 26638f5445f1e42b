"""Wilson's interval against scipy, and what intervals allow one to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from deepgraph.demo.accuracy import Accuracy, apart
from deepgraph.errors import ArgumentError


@given(st.integers(1, 5000), st.data())
def test_interval_is_scipys(total: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, total))
    wanted = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert Accuracy(right, total).interval == pytest.approx((wanted.low, wanted.high), abs=1e-12)


@pytest.mark.parametrize(("right", "total"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts(right: int, total: int) -> None:
    with pytest.raises(ArgumentError, match=f"expected 0 <= right <= total and total >= 1, got {right} of {total}"):
        Accuracy(right, total)


def test_only_intervals_that_do_not_overlap_are_apart() -> None:
    assert apart([Accuracy(820, 1000), Accuracy(840, 1000)]) == []
    assert apart([Accuracy(500, 1000), Accuracy(840, 1000)]) == [(1, 0)]
