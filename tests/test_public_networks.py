"""Real networks as exporters wrote them, from a folder beside the repository that is not part of it.

Every network that is piecewise affine is walked and compared with the original file under plain onnxruntime; any other
one is refused, naming the right node. Skipped where the folder is missing, and under CI.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import lronnx
from lronnx import agreement

Floats = NDArray[np.float64]

SHARED = Path(os.environ.get("LRONNX_SHARED") or Path(__file__).parents[2] / "shared") / "onnx"
PRESENT = (SHARED / "MANIFEST.csv").is_file() and not os.environ.get("CI")
pytestmark = pytest.mark.skipif(not PRESENT, reason="the public networks are not here, or this is a CI run")

# Of these the default run walks the first regions only; the whole segment takes from several seconds to minutes each.
LONG = {
    "dnnv_ERAN-MNIST/mnist_conv_maxpool.onnx",
    "tf2onnx/model.onnx",
    "vgg8_random.onnx",
    "vnncomp2021_verivital/Convnet_maxpool.onnx",
    "vnncomp2022_cifar_biasfield/cifar_base.onnx",
    "vnncomp2023_cgan/cGAN_imgSz32_nCh_1.onnx",
}
# A single step of these takes seconds; the default run only loads them.
HUGE = {"onnx_light/light_resnet50.onnx", "onnx_light/light_squeezenet.onnx"}
PREFIX = 60
"""Regions walked of a long segment, and where no segment is given."""
COMPARED = 25
"""Edges, and as many midpoints, at which the original is evaluated."""
# Relative to the largest output; rounding of inputs and of all layers together.
ROUNDING = {"float16": 2e-2, "float32": 2e-5, "float64": 1e-12}


class Row(NamedTuple):
    """A network of the manifest: what is expected of it."""

    name: str
    expected: str
    units: int
    regions: int | None
    smallest: float

    @property
    def path(self) -> Path:
        return SHARED / "models" / self.name

    @property
    def named(self) -> tuple[int, str, str] | None:
        """Index, name and operator of the node that the manifest names."""
        found = re.search(r"#(\d+) (.+?) (\S+?): ", self.expected + " ")
        if found is None:
            return None
        return int(found[1]), found[2], found[3].rpartition(":")[2]


def rows() -> Iterator[Row]:
    if not PRESENT:
        return
    with open(SHARED / "known_answers.csv", newline="", encoding="utf-8") as file:
        known = {row["name"]: row for row in csv.DictReader(file)}
    with open(SHARED / "MANIFEST.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            answer = known.get(row["name"])
            regions = int(answer["regions"]) if answer else None
            smallest = float(answer["smallest_region"]) if answer else np.nan
            yield Row(row["name"], row["expected"], int(row["pwl_units"]), regions, smallest)


ROWS = list(rows())
ANALYSED = [row for row in ROWS if row.expected.startswith("ANALYSE")]
CUT = [row for row in ROWS if "when cut" in row.expected]
MAYBE = [row for row in ROWS if "or support" in row.expected]
INVALID = [row for row in ROWS if re.match(r"REJECT: (invalid|onnxruntime)", row.expected)]
CONTROL_FLOW = [row for row in ROWS if row.expected.startswith("PWA")]
REFUSED = [row for row in ROWS if row.expected.startswith("REJECT naming")]


def parameters(chosen: list[Row], slow: bool = False) -> Any:
    marks = [pytest.mark.slow] if slow else []
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.name, marks=marks) for row in chosen])


def test_every_row_of_the_manifest_is_tested() -> None:
    assert len(ROWS) > 100
    groups = [ANALYSED, CUT, MAYBE, INVALID, CONTROL_FLOW, REFUSED]
    assert sorted(row.name for group in groups for row in group) == sorted(row.name for row in ROWS)


# --- the original, evaluated without lronnx -------------------------------------------------------------------------


class Original:
    """The file as it was exported, under plain onnxruntime; ``output`` may be a tensor inside."""

    def __init__(self, path: Path, output: str, fixed: dict[str, NDArray[Any]]) -> None:
        model = onnx.load(path)
        stored = {tensor.name for tensor in model.graph.initializer}
        self.inputs = [value for value in model.graph.input if value.name not in stored]
        if output in [value.name for value in self.inputs]:
            self.session = None
            return
        if output not in [value.name for value in model.graph.output]:
            model.graph.output.add().name = output
        options = ort.SessionOptions()
        options.log_severity_level = 4
        # Its optimizer is not sound: padding that is fused into a pooling changes the result.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.output, self.fixed = output, fixed

    @property
    def types(self) -> dict[str, np.dtype[Any]]:
        return {v.name: onnx.helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in self.inputs}

    def __call__(self, name: str, point: Floats) -> Floats:
        if self.session is None:
            return point.ravel()
        feeds = {**self.fixed, name: point.astype(self.types[name])}
        return np.asarray(self.session.run([self.output], feeds)[0], dtype=np.float64).ravel()


@cache
def other_inputs(path: Path) -> dict[str, NDArray[Any]]:
    """Content for every input but the first."""
    rng = np.random.default_rng(1)
    model = onnx.load(path, load_external_data=False)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    dims = {value.name: [d.dim_value or 1 for d in value.type.tensor_type.shape.dim] for value in inputs[1:]}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in dims.items()}


def segment(row: Row, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """The known answer's segment, or a short random one."""
    path = SHARED / "segments" / (row.name.removesuffix(".onnx").replace("/", "__") + ".npz")
    if path.is_file():
        with np.load(path) as file:
            return file["start"].astype(np.float64), file["end"].astype(np.float64)
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 1, shape)
    return start, start + rng.normal(scale=0.2, size=shape)


def agree(walked: lronnx.Walk, swept: lronnx.Walk) -> None:
    """The two engines find the same units switching in the same order, the same breakpoints and values."""
    assert walked.self_check.ok, walked.self_check
    assert [sorted(together) for together in swept.switches] == [sorted(together) for together in walked.switches]
    np.testing.assert_allclose(swept.t, walked.t, rtol=0, atol=1e-9)
    scale = max(float(np.abs(walked.values).max(initial=0.0)), 1e-300)
    np.testing.assert_allclose(swept.values, walked.values, rtol=0, atol=1e-9 * scale)
    found = agreement.compare([walked], [swept], "double")
    assert found.ok, found


def walk_and_compare(row: Row, limit: int | None) -> None:
    network = lronnx.load(row.path, fixed_inputs=other_inputs(row.path))
    start, end = segment(row, network.input_shape)
    walked, walk = (network.walk(start, end, max_regions=limit, device="cpu", engine=one) for one in ("walk", "sweep"))
    agree(walked, walk)
    assert walk.self_check.ok, walk.self_check
    assert walk.t[0] == 0
    assert np.all(np.diff(walk.t) > 0)
    assert len(walk.switches) == walk.regions - 1
    assert all(walk.switches)
    if limit is None:
        assert walk.t[-1] == 1
        assert not walk.partial
    if "one region" in row.expected:
        assert walk.regions == 1
        assert network.units == 0
    if row.regions is not None and limit is None:
        assert walk.regions == row.regions
        assert np.diff(walk.t).min() == pytest.approx(row.smallest, abs=1e-9)
    if row.name not in {r.name for r in CUT + MAYBE}:
        assert network.units == row.units

    original = Original(row.path, network.output_name, other_inputs(row.path))
    precision = min((t.name for t in original.types.values()), key=lambda name: np.finfo(name).bits)
    allowed = ROUNDING[precision] * max(1.0, float(np.abs(walk.values).max()))
    start, end = start.reshape(network.input_shape), end.reshape(network.input_shape)
    for i in np.unique(np.linspace(0, walk.regions, COMPARED).astype(int)):
        value = original(network.input_name, start + walk.t[i] * (end - start))
        np.testing.assert_allclose(walk.values[i], value, rtol=0, atol=allowed)
    for i in np.unique(np.linspace(0, walk.regions - 1, COMPARED).astype(int)):
        value = original(network.input_name, start + (walk.t[i] + walk.t[i + 1]) / 2 * (end - start))
        np.testing.assert_allclose((walk.values[i] + walk.values[i + 1]) / 2, value, rtol=0, atol=allowed)
        rise = walk.slopes[i] * (walk.t[i + 1] - walk.t[i])
        scale = max(1.0, float(np.abs(walk.values).max()))
        np.testing.assert_allclose(walk.values[i] + rise, walk.values[i + 1], rtol=0, atol=1e-9 * scale)


# --- what is expected -----------------------------------------------------------------------------------------------


@parameters([row for row in ANALYSED if row.name not in LONG])
def test_piecewise_affine_networks(row: Row) -> None:
    walk_and_compare(row, None if row.regions else PREFIX)


@parameters([row for row in ANALYSED if row.name in LONG])
def test_the_first_regions_of_long_segments(row: Row) -> None:
    walk_and_compare(row, PREFIX)


@parameters([row for row in ANALYSED if row.name in LONG], slow=True)
def test_long_segments(row: Row) -> None:
    walk_and_compare(row, None)


def names_the_node(row: Row, refusals: tuple[lronnx.Refusal, ...]) -> bool:
    """Whether the node that the manifest names is among those refused; it may have no name."""
    assert row.named is not None
    index, name, op_type = row.named
    return any(r.op_type == op_type and (r.index == index or r.name == name) for r in refusals)


@parameters(CUT)
def test_networks_with_a_tail(row: Row) -> None:
    assert row.named is not None
    try:
        network = lronnx.load(row.path)
    except lronnx.NotPiecewiseAffineError as error:
        # What stands behind a class map is more than a tail that could be cut.
        assert names_the_node(row, error.refusals)  # noqa: PT017
        assert "carvana" in row.name
        return
    _, name, op_type = row.named
    notice = next(notice for notice in network.notices if "cut off" in notice)
    assert op_type in notice
    assert name in notice or name == "(unnamed)"
    if row.name not in HUGE:
        walk_and_compare(row, PREFIX)


@parameters([row for row in CUT if row.name in HUGE], slow=True)
def test_huge_networks_with_a_tail(row: Row) -> None:
    walk_and_compare(row, 1)


@parameters(MAYBE)
def test_fused_networks_are_walked_or_refused(row: Row) -> None:
    try:
        walk_and_compare(row, PREFIX)
    except lronnx.NotPiecewiseAffineError as error:
        assert names_the_node(row, error.refusals)  # noqa: PT017


@parameters(REFUSED)
def test_networks_that_are_not_piecewise_affine(row: Row) -> None:
    with pytest.raises(lronnx.NotPiecewiseAffineError) as caught:
        lronnx.load(row.path)
    assert names_the_node(row, caught.value.refusals), caught.value
    inspection = lronnx.inspect(row.path)
    assert not inspection.piecewise_affine
    assert inspection.refusals == caught.value.refusals
    assert {node.index for node in inspection.nodes if node.kind == "refused"} == {r.index for r in inspection.refusals}
    assert any(node.shape is not None for node in inspection.nodes)


@parameters(CONTROL_FLOW)
def test_control_flow(row: Row) -> None:
    with pytest.raises(lronnx.NotPiecewiseAffineError) as caught:
        lronnx.load(row.path)
    assert "If" in {refusal.op_type for refusal in caught.value.refusals}


@parameters(INVALID)
def test_models_that_onnxruntime_cannot_run(row: Row) -> None:
    with pytest.raises(lronnx.ModelError) as caught:
        lronnx.load(row.path)
    assert row.path.name in str(caught.value)
    inspection = lronnx.inspect(row.path)
    assert inspection.problem
    assert not inspection.piecewise_affine
    assert {"affine", "switching"} <= {node.kind for node in inspection.nodes}
