"""Every operator record against an independent evaluation of the same node: values, slopes, regions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from one_node import OUTPUT, Floats, Key, input_shape, one_node, reference

import lronnx
from lronnx.ops import TABLE, OpRule, Sample

Case = tuple[Key, int, Sample]
CASES: list[Case] = [(key, i, sample) for key, rule in TABLE.items() for i, sample in enumerate(rule.samples)]
IDS = [f"{key[1]}-{i}" for key, i, _ in CASES]
# Relative to the largest output; in float32 relative to what a few hundred rounded products may come to.
TOLERANCE = {"double": 1e-12, "single": 2e-5}
POINTS = 4


def seeded(key: Key, number: int) -> np.random.Generator:
    return np.random.default_rng([number, *key[1].encode()])


def close(found: Any, expected: Any, tolerance: float, what: str) -> None:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} instead of {expected.shape}"
    error = np.abs(found - expected).max(initial=0.0)
    limit = tolerance * max(1.0, np.abs(expected).max(initial=0.0))
    assert error <= limit, f"{what}: off by {error:.3g}, at most {limit:.3g} is allowed"


def check(folder: Path, key: Key, number: int, sample: Sample, precision: str = "double") -> None:
    """Assert that lronnx computes this sample's values, slopes and regions."""
    path = folder / "one.onnx"
    path.write_bytes(one_node(key, sample).SerializeToString())
    for output in range(sample.outputs):
        name = f"{OUTPUT}{output}" if output else OUTPUT
        network = lronnx.load(path, output=name)
        assert network.input_shape == input_shape(sample)
        f = reference(key, sample, output)
        points = seeded(key, number).standard_normal(
            (POINTS, network.input_shape[0] if 0 else 1, *network.input_shape)
        )[:, 0]
        check_program(network, f, points, precision)
        check_walk(network, TABLE[key], f, points[0], points[1], precision)


def check_program(network: lronnx.Network, f: Callable[[Floats], Floats], points: Floats, precision: str) -> None:
    """The linearized program at several points at once; and the original model as far as float32 goes."""
    dtype = np.float64 if precision == "double" else np.float32
    session = ort.InferenceSession(network.linearize(precision=precision), providers=["CPUExecutionProvider"])
    feeds = {"point": points.astype(dtype), "direction": np.roll(points, 1, axis=0).astype(dtype)}
    values = session.run(["value"], feeds)[0]
    expected = np.stack([f(point) for point in points])
    close(values, expected, TOLERANCE[precision], "values")
    close(network.original(points[0]), expected[0], TOLERANCE["single"], "the original under onnxruntime")


def check_walk(
    network: lronnx.Network, rule: OpRule, f: Callable[[Floats], Floats], start: Floats, end: Floats, precision: str
) -> None:
    """A walk: f at the edges, difference quotients of f inside every region, no breakpoint too few or too many."""
    walk = network.walk(start, end, precision=precision, device="cpu")
    assert walk.self_check.ok, walk.self_check
    tolerance = TOLERANCE[precision]

    def at(t: float) -> Floats:
        return f(start + t * (end - start))

    close(walk.values, np.stack([at(t) for t in walk.t]), tolerance, "values at the edges")
    switching = rule.switch is not None and network.units > 0
    if not switching:
        assert len(walk.t) == 2, "an affine operator has one region"
    for i, (left, right) in enumerate(zip(walk.t[:-1], walk.t[1:], strict=True)):
        inner = left + (right - left) * np.array([0.1, 0.4, 0.9])
        y = [at(t) for t in inner]
        # Rounding of f, divided by how far apart the places are.
        slack = 1e-14 / (right - left) if precision == "double" else tolerance / (right - left)
        close((y[2] - y[0]) / (inner[2] - inner[0]), walk.slopes[i], 10 * tolerance + 10 * slack, "slopes")
        close(y[0] + (y[2] - y[0]) * 3 / 8, y[1], tolerance * 10, "f is bent inside a region")
    if precision == "double":
        for i, switches in enumerate(walk.switches):
            assert np.abs(walk.slopes[i + 1] - walk.slopes[i]).max() > 0, "a breakpoint without a bend"
            for switch in switches:
                assert switch.node == "node"
                assert 0 <= switch.unit < network.units


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize(("key", "number", "sample"), CASES, ids=IDS)
def test_sample(tmp_path: Path, key: Key, number: int, sample: Sample, precision: str) -> None:
    check(tmp_path, key, number, sample, precision)
