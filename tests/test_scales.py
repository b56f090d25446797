"""Numbers of very different size in one network: each is judged by its own, and none is lost beside a larger one.

Factors are powers of two, which floating-point arithmetic multiplies by without rounding: a network whose scales are
changed by them, here and back there, has the very same breakpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Builder, Tensor
from test_walk_exact import RANDOM, check, expect, walks

import lronnx


def network(rng: np.random.Generator, inputs: Any, hidden: list[Any]) -> onnx.ModelProto:
    """Random weights; input i is multiplied by ``inputs[i]`` first, hidden unit j by ``hidden[layer][j]`` and back."""
    b = Builder((len(inputs),))
    x: Tensor = b.add("Mul", [b.input, b.constant([inputs])], b.input.shape)
    back = np.ones(len(inputs))
    for factors in hidden:
        weight, bias = rng.standard_normal((len(factors), len(back))), rng.standard_normal(len(factors))
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        x = b.relu(b.gemm(x, weight / back * np.asarray(factors)[:, None], bias * factors))
        back = np.asarray(factors)
    weight = rng.standard_normal((2, len(back))).astype(np.float32)
    return b.model(b.gemm(x, weight / back))


@RANDOM
@given(seed=st.integers(0, 2**31), spread=st.integers(1, 20))
def test_scales_that_cancel_change_nothing(seed: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    start, end = rng.standard_normal((2, 3)).astype(np.float32).astype(np.float64)
    inputs = 2.0 ** rng.integers(-spread, spread + 1, 3)
    hidden = [2.0 ** rng.integers(-spread, spread + 1, width) for width in (6, 5)]
    weights = int(rng.integers(2**31))
    plain = network(np.random.default_rng(weights), np.ones(3), [np.ones(6), np.ones(5)])
    scaled = network(np.random.default_rng(weights), inputs, hidden)
    for one, other in zip(walks(plain, start, end), walks(scaled, start / inputs, end / inputs), strict=True):
        np.testing.assert_allclose(other.t, one.t, rtol=0, atol=1e-12)
        assert [[(s.unit, s.after) for s in together] for together in one.switches] == [
            [(s.unit, s.after) for s in together] for together in other.switches
        ]
        np.testing.assert_allclose(other.values, one.values, rtol=0, atol=1e-12 * np.abs(one.values).max())
        assert one.self_check.ok
        assert other.self_check.ok


def test_a_small_unit_beside_a_large_input() -> None:
    # The first coordinate is a time in seconds that hardly weighs, the second one tiny and weighty.
    b = Builder((2,))
    y = b.relu(b.gemm(b.input, [[2.0**-30, 2.0**20]], [-1.5]))
    expect(b.model(y), [1.5 * 2**30, -(2.0**-17)], [1.5 * 2**30, 2.0**-17], [0.5], [{(y.name, 0)}])


def test_the_self_check_is_no_more_tolerant_than_rounding() -> None:
    b = Builder((2,))
    y = b.relu(b.gemm(b.input, [[2.0**-30, 2.0**20]], [-1.5]))
    for walk in walks(b.model(y), [1.5 * 2**30, -(2.0**-17)], [1.5 * 2**30, 2.0**-17]):
        assert 0 < walk.self_check.value_tolerance < 1e-2


@pytest.mark.parametrize("fill", [-1e9, -1e15, -1e30])
def test_padding_far_below_everything(fill: float) -> None:
    b = Builder((1, 3))
    pads, value = b.constant([0, 0, 1, 0, 0, 0], np.int64), b.constant(np.float32(fill))
    padded = b.add("Pad", [b.input, pads, value], (1, 1, 4))
    y = b.add("MaxPool", [padded], (1, 1, 3), kernel_shape=[2], strides=[1])
    check(b.model(y), [[0, 1, 0]], [[1, 0, 0.25]])


@pytest.mark.parametrize("low", [-1e9, -1e15, -1e30])
def test_a_bound_that_is_never_reached(low: float) -> None:
    b = Builder((1,))
    y = b.relu(b.sum(b.clip(b.input, low, 6), b.constant([[0.125]])))
    expect(b.model(y), [-1], [1], [0.4375], [{(y.name, 0)}])


def test_flat_branches_are_exactly_flat() -> None:
    # Where a Clip rests on its bound, what follows sees a constant, not its rounding.
    b = Builder((3,))
    flat = b.clip(b.gemm(b.input, [[0.1, 0.2, 0.3]] * 3, [10.3, 10.1, 10.7]), -0.7, 0.3)
    y = b.relu(b.sum(flat, b.constant([[-0.3, -0.3, -0.3]])))
    for walk in walks(b.model(y), [0.1, 0.2, 0.3], [0.7, 0.5, 0.9]):
        assert walk.regions == 1
        assert walk.self_check.ok


def test_tiny_numbers_are_numbers() -> None:
    b = Builder((2,))
    tiny = b.add("Mul", [b.input, b.constant([[2.0**-90, 2.0**-100]])], b.input.shape)
    y = b.relu(tiny)
    for walk in walks(b.model(y), [-1, -2], [3, 1]):
        np.testing.assert_allclose(walk.t, [0, 0.25, 2 / 3, 1], rtol=0, atol=1e-12)


def test_noise_that_is_passed_on_stays_noise() -> None:
    # Differences of equal sums, computed in two orders, are fed through further layers.
    rng = np.random.default_rng(8)
    row = rng.standard_normal(24).astype(np.float32)
    order = rng.permutation(24)
    b = Builder((24,))
    one = b.gemm(b.input, np.tile(row, (8, 1)))
    turned = b.add("Gather", [b.input, b.constant(order, np.int64)], b.input.shape, axis=1)
    other = b.gemm(turned, np.tile(row[order], (8, 1)))
    x = b.add("Sub", [one, other], one.shape)
    for _ in range(6):
        x = b.add("LeakyRelu", [b.gemm(x, rng.standard_normal((8, 8)))], (1, 8), alpha=0.5)
    for walk in walks(b.model(b.sum(x, one)), rng.standard_normal(24), rng.standard_normal(24)):
        assert walk.regions == 1
        assert walk.self_check.ok


def test_a_network_that_wakes_up_on_the_way(tmp_path: Path) -> None:
    # Nothing moves on the first half, so that whoever begins there has no slope to judge others by.
    rng = np.random.default_rng(9)
    b = Builder((1,))
    awake = b.relu(b.input)
    x = b.relu(b.gemm(awake, rng.standard_normal((12, 1)), -np.abs(rng.standard_normal(12))))
    y = b.gemm(x, rng.standard_normal((2, 12)))
    check(b.model(y), [-2], [2])
    onnx.save(b.model(y), tmp_path / "m.onnx")
    found = [lronnx.load(tmp_path / "m.onnx").walk(np.array([-2.0]), np.array([2.0]), lanes=n).regions for n in (1, 50)]
    assert found[0] == found[1] > 3


def test_cancelling_copies_behind_layers_that_sleep_at_the_start() -> None:
    # The features that cancel grow by ten orders of magnitude on the way.
    rng = np.random.default_rng(10)
    b = Builder((4,))
    x = b.relu(b.gemm(b.input, rng.standard_normal((16, 4)), [-1.0] * 16))
    for _ in range(8):
        x = b.relu(b.gemm(x, rng.standard_normal((16, 16))))
    one, other = (b.gemm(x, np.tile(rng.standard_normal((1, 16)), (4, 1))) for _ in range(2))
    total = b.sum(one, other)
    nothing = b.relu(b.add("Sub", [b.sum(total, b.constant(np.zeros((1, 4)))), b.sum(other, one)], (1, 4)))
    model = b.model(b.sum(nothing, one))
    found = list(walks(model, [0] * 4, [2, -1, 1, 3]))
    assert len({walk.regions for walk in found}) == 1
    for walk in found:
        assert nothing.name not in walk.switches_by_node
        assert walk.self_check.ok


@pytest.mark.parametrize("factor", [1e-12, 1e-8, 1e8, 1e12])
def test_layers_of_one_scale_after_another(factor: float) -> None:
    rng = np.random.default_rng(11)
    b = Builder((2,))
    x: Tensor = b.input
    for _ in range(3):
        x = b.relu(b.gemm(x, rng.standard_normal((6, x.shape[1])) * factor))
    check(b.model(b.relu(x)), [-1, 0.5], [1, -0.25])


def test_the_place_is_rounded_too() -> None:
    b = Builder((1,))
    y = b.relu(b.gemm(b.input, [[-1]], [0.25]))
    for walk in walks(b.model(y), [3000.0], [-1.0]):
        assert walk.regions == 2
        assert walk.self_check.ok


@pytest.mark.parametrize("lanes", [1, 2, 5, 7, 64])
def test_an_end_on_a_kink_that_rounding_blurs(tmp_path: Path, lanes: int) -> None:
    b = Builder((1,))
    onnx.save(b.model(b.relu(b.gemm(b.input, [[1]], [-1]))), tmp_path / "m.onnx")
    network = lronnx.load(tmp_path / "m.onnx")
    for start, end in ((1 + 2.0**-19, 1.0), (1.0, 1 + 2.0**-19)):
        assert network.walk(np.array([start]), np.array([end]), lanes=lanes).regions == 1
