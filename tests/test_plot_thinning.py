"""What is left out of a picture cannot be seen: against the largest distance, and against column by column."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lronnx.plot import thinning


@st.composite
def polylines(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Strictly increasing x, some of them very close together, and y of any size."""
    count = draw(st.integers(1, 60))
    gaps = draw(st.lists(st.sampled_from([1.0, 1e-3, 1e-9, 0.37]), min_size=count, max_size=count))
    rough = draw(st.lists(st.floats(-1.0, 1.0), min_size=count, max_size=count))
    kind = draw(st.sampled_from(["rough", "walk", "curve", "spike"]))
    x, y = np.cumsum(gaps), np.array(rough)
    if kind == "walk":
        y = np.cumsum(y)
    elif kind == "curve":
        y = np.sin(x) + 0.01 * y
    elif kind == "spike":
        # Of one stretch ever smaller ends are split off.
        y = 2.0 ** -np.arange(count)
    return x, y * draw(st.sampled_from([1.0, 1e-300, 1e300, 1.5e308 / 60]))


@settings(deadline=None)
@given(polylines(), st.sampled_from([0.0, 1e-6, 1e-2, 0.3, 5.0]))
def test_a_simplified_line_stays_within_the_tolerance(line: tuple[np.ndarray, np.ndarray], share: float) -> None:
    x, y = line
    size = np.abs(y).max() or 1.0
    kept = thinning.simplify(x, y, share * size)
    assert kept[0] == 0
    assert kept[-1] == len(x) - 1
    assert (np.diff(kept) > 0).all()
    # At every vertex, by numpy's own interpolation: between two vertices both lines are straight.
    distance = np.abs(np.interp(x, x[kept], y[kept] / size) - y / size)
    assert distance.max() <= share * (1 + 1e-12) + 4e-16
    if share >= 2.0:
        assert len(kept) <= 2


def test_a_straight_line_needs_its_ends_and_a_zigzag_all() -> None:
    x = np.linspace(0.0, 1.0, 1000)
    assert thinning.simplify(x, 3.0 * x - 1.0, 1e-12).tolist() == [0, 999]
    assert len(thinning.simplify(x, np.arange(1000) % 2.0, 0.25)) == 1000
    # A parabola needs about as many vertices as a chord's distance says: (dx)^2 / 4 of a curvature of 2.
    assert len(thinning.simplify(x, x**2, 1e-4)) <= 2 * math.ceil(1 / math.sqrt(4e-4))


def test_many_rounds_are_cut_short() -> None:
    """Where each vertex to split off is the next one, the middle ones are split off as well."""
    x = np.arange(5000.0)
    y = np.zeros(5000)
    y[1:] = 1.01 ** -np.arange(4999)
    kept = thinning.simplify(x, y, 1e-40)
    assert np.abs(np.interp(x, x[kept], y[kept]) - y).max() <= 1e-15


@given(
    st.lists(st.floats(0.0, 1.0), max_size=60),
    st.integers(1, 12),
)
def test_no_column_that_has_a_mark_is_left_empty(places: list[float], columns: int) -> None:
    x = np.array(places)
    kept, counts = thinning.marks(x, (0.0, 1.0), columns)
    expected: dict[int, list[float]] = {}
    for place in places:
        expected.setdefault(min(int(place * columns), columns - 1), []).append(place)
    assert x[kept].tolist() == [min(expected[column]) for column in sorted(expected)]
    assert counts.tolist() == [len(expected[column]) for column in sorted(expected)]


@given(
    st.lists(st.floats(0.001, 1.0), min_size=1, max_size=40),
    st.data(),
    st.integers(1, 9),
    st.sampled_from([1.0, 0.6]),
)
def test_an_envelope_is_that_of_all_steps_of_a_column(
    widths: list[float], data: st.DataObject, columns: int, reach: float
) -> None:
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    edges *= reach / edges[-1]
    steps = st.lists(st.floats(-1e300, 1e300), min_size=len(widths), max_size=len(widths))
    y = np.array(data.draw(steps))
    found = thinning.envelope(edges, y, (0.0, 1.0), columns)
    borders = np.linspace(0.0, 1.0, columns + 1)
    position = 0
    for column in range(columns):
        # Rounding decides about parts that are narrower than it.
        inside = np.minimum(edges[1:], borders[column + 1]) - np.maximum(edges[:-1], borders[column])
        surely, perhaps = np.sort(y[inside > 1e-12]), np.sort(y[inside > -1e-12])
        if not len(surely):
            position += position < len(found.left) and abs(found.left[position] - borders[column]) < 1e-12
            continue
        low, high, middle = found.low[position], found.high[position], found.middle[position]
        assert perhaps[0] <= low <= surely[0]
        assert surely[-1] <= high <= perhaps[-1]
        if len(surely) == len(perhaps):
            assert middle == surely[(len(surely) - 1) // 2]
        assert found.left[position] == pytest.approx(borders[column])
        assert found.right[position] == pytest.approx(min(borders[column + 1], reach))
        position += 1
    assert position == len(found.left)


def test_nothing_is_thinned_to_nothing() -> None:
    assert thinning.envelope(np.zeros(1), np.zeros(0), (0.0, 1.0), 5).low.size == 0
    assert thinning.marks(np.zeros(0), (0.0, 1.0), 5)[0].size == 0
