"""The ONNX standard's own node cases, walked: given inputs, expected outputs, one small model each.

Nobody who wrote an operator of lronnx wrote these cases, and their expected outputs come from no runtime. Every case
whose operators the table knows is taken once per floating-point input that may vary and floating-point output that
may be analysed; all other inputs are fixed at the case's own data. What cannot be walked stands in a table with the
reason, and the reason is checked: an entry that nothing needs any more fails as well as one that is missing.
"""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.backend.test.case.test_case import TestCase

import lronnx
from lronnx.ops import TABLE, Facts, Kind, Lookup, OpRule
from lronnx.ops.emitter import Emitter, Lanes
from lronnx.ops.record import Choice, Kinks

Floats = NDArray[np.float64]
Key = tuple[str, str]

NOTHING_KNOWN = Facts((), (), (), 0, Lookup({}, {}, set(), {}))

FLOATING = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
# The newest versions that onnxruntime takes. Cases of later ones are declared at these instead where the checker finds
# nothing in them that these lack: most are there for element types that were added, and would all be lost.
OPSET, IR = 26, 13
# In units in the last place of the coarsest type that a case computes in, relative to its largest output (or to 1).
# Expected outputs are rounded once or, in sums, as often as there are terms: the worst case is off by 7.7.
# At a midpoint onnxruntime rounds the point as well, and all that it makes of it: the worst case is off by 5.3, with
# other points 7.2. What is left is for the order in which other processors add.
ULPS = 16
# What is computed in double precision throughout, relative to the same.
DOUBLE = 1e-12
# The longest walk of a case is 54 regions, but for max-pooling of whole images, which is cut short.
MAX_REGIONS, MANY_UNITS, FEW_REGIONS = 60, 1000, 4

# ---- what is not walked, by patterns of CASE:INPUT:OUTPUT

RUNTIME = "onnxruntime has no kernel for the model on CPU, or takes no array of such a type"
NOT_FINITE = "the case's data hold NaN or infinity, which lronnx takes nowhere"
EMPTY = "the input that varies, or the output, holds no elements: there is nothing to walk"
EXCLUDED = {
    "test_cast_*BFLOAT16*": RUNTIME,
    "test_cast_DOUBLE_*": NOT_FINITE,
    "test_cast_FLOAT*": NOT_FINITE,
    "test_castlike_*INT[24]_*": RUNTIME,
    "test_castlike_*BFLOAT16*": RUNTIME,
    "test_castlike_DOUBLE_*": NOT_FINITE,
    "test_castlike_FLOAT16_*": NOT_FINITE,
    "test_castlike_FLOAT4E2M1_*": RUNTIME,
    "test_castlike_FLOAT8*": RUNTIME,
    "test_castlike_FLOAT_*": NOT_FINITE,
    "test_causal_conv_with_state_kernel_size_one_expanded:*:present_state": EMPTY,
    "test_compress_bfloat16:*": RUNTIME,
    "test_einsum_*_bfloat16:*": RUNTIME,
    "test_reduce_*_empty_set*": EMPTY,
    "test_reshape_allowzero_reordered:*": EMPTY,
    "test_slice_start_out_of_bounds:*": EMPTY,
    "test_reversesequence_bfloat16:*": RUNTIME,
    "test_spacetodepth_*_mode_example:*": RUNTIME,
    "test_split_zero_size_splits_*": EMPTY,
}

# What lronnx gives as the reason, or a part of it, by the first pattern that fits.
UNCLEAR = "a choice by a condition on the input whose two sides do not visibly meet"
REFUSED = {
    # Random, or dependent on the whole batch.
    "test_batchnorm_*_training_mode:*": "in training mode",
    "test_training_dropout_*": "in training mode",
    "test_training_dropout:*": "in training mode",
    # Weights and parameters that vary: affine in some, and never anything that is walked along.
    "test_basic_conv_*:W:y": "operand 1 ('W') depends on the input",
    "test_batchnorm_*:[bmsv]*:y": "depends on the input, which is not supported",
    "test_causal_conv_*:bias:output": "operand 2 ('bias') depends on the input",
    "test_causal_conv_*:weight:output": "operand 1 ('weight') depends on the input",
    "test_clip*_expanded:m*:y": UNCLEAR,
    "test_clip*:max:y": "operand 2 ('max') depends on the input",
    "test_clip*:min:y": "operand 1 ('min') depends on the input",
    "test_constant_pad*:value:y": "operand 2 ('value') depends on the input",
    "test_conv_*:W:y": "operand 1 ('W') depends on the input",
    "test_convtranspose*:W:Y": "operand 1 ('W') depends on the input",
    "test_dropout_*_ratio:r:y": "operand 1 ('r') depends on the input",
    "test_prelu_broadcast:slope:y": "operand 1 ('slope') depends on the input",
    "test_prelu_example:slope:y": "operand 1 ('slope') depends on the input",
    "test_upsample_nearest:scales:Y": "operand 1 ('scales') depends on the input",
    # Not affine.
    "test_div*:y:z": "the divisor depends on the input",
    "test_hardswish_expanded:x:y": "bilinear",
    "test_nllloss_*mean*:weight:loss": "the divisor depends on the input",
    "test_nllloss_NCd1_weight_*:weight:loss": "the divisor depends on the input",
    "test_pow*:x:z": "a power other than 1",
    "test_pow*:y:z": "the exponent depends on the input",
    "test_reduce_sum_square_*_expanded:data:reduced": "bilinear",
    "test_softsign_*": "the divisor depends on the input",
    # Discontinuous.
    "test_shrink_hard:x:y": "jumps",
    "test_shrink_hard_expanded_*": UNCLEAR,
    "test_thresholdedrelu*_expanded_*": UNCLEAR,
    "test_thresholdedrelu*": "jumps at",
    # Piecewise affine, but written in a way that is not recognised: one slope per channel.
    "test_prelu_*_expanded:x:y": UNCLEAR,
    # Variants of affine operators that the table leaves out.
    "test_einsum_batch_diagonal:*": "takes a diagonal",
    "test_resize_*_antialias:*": "with antialias",
    "test_resize_*_nearest_not_*": "keeps the aspect ratio",
    "test_resize_tf_crop_and_resize*": "tf_crop_and_resize",
    "test_resize_*:scales:Y": "operand 2 ('scales') depends on the input",
    "test_scatter_elements_with_duplicate_indices:*": "with reduction 'add'",
    "test_scatter_elements_with_reduction_*": "with reduction",
    "test_scatternd_add:*": "with reduction 'add'",
    "test_scatternd_m[aiu]*": "with reduction",
}

# onnxruntime aligns the corners of the two tensors, the standard those of sizes that need not be whole numbers.
# lronnx walks the function that the runtime computes: these are compared with the runtime alone.
DEVIATING = (
    "test_resize_downsample_scales_cubic_align_corners:X:Y",
    "test_resize_downsample_scales_linear_align_corners:X:Y",
)
# Expected outputs that were written by hand, with so many decimals, the last of which may be off by one.
DECIMALS = {"test_averagepool_2d_ceil_last_window_starts_on_pad:x:y": 4}


@dataclass(frozen=True)
class Combination:
    """A case with the input that varies and the output that is analysed."""

    case: str
    varied: str
    output: str

    def __str__(self) -> str:
        return f"{self.case}:{self.varied}:{self.output}"


@functools.cache
def collected() -> dict[str, TestCase]:
    """All node cases by name. Takes seconds; data are drawn on the way, and must be the same in every run."""
    state = np.random.get_state()
    np.random.seed(20220330)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found = collect_testcases()
    finally:
        np.random.set_state(state)
    return {case.name: case for case in found if case.model is not None}


def floating(values: Sequence[onnx.ValueInfoProto]) -> list[str]:
    return [v.name for v in values if v.type.HasField("tensor_type") and v.type.tensor_type.elem_type in FLOATING]


def outputs_in_reach(model: onnx.ModelProto) -> list[str]:
    """The floating-point outputs, if the table has rules for all nodes on the way there from floating-point inputs."""
    reached, walked = set(floating(model.graph.input)), False
    for node in model.graph.node:
        rule = TABLE.get((node.domain, node.op_type))
        if not reached.intersection(node.input):
            continue
        if rule is None:
            return []
        if rule.emit is None and rule.switch is None:
            # Shapes and comparisons have no rule of their own to be written by: they are part of other nodes' rules.
            verdict = rule.verdict(node, NOTHING_KNOWN)
            if isinstance(verdict, str):
                return []
            if verdict is Kind.CONSTANT:
                continue
        else:
            walked = True
        reached.update(node.output)
    return [name for name in floating(model.graph.output) if walked and name in reached]


@functools.cache
def combinations() -> tuple[Combination, ...]:
    return tuple(
        Combination(name, varied, output)
        for name, case in collected().items()
        for varied in floating(case.model.graph.input)
        for output in outputs_in_reach(case.model)
    )


def entry(table: Mapping[str, Any] | Sequence[str], combination: Combination) -> str | None:
    """The pattern of a table that a combination falls under."""
    return next((pattern for pattern in table if fnmatchcase(str(combination), pattern)), None)


@functools.cache
def runnable(name: str) -> onnx.ModelProto:
    """A case's model, declared at versions that onnxruntime takes if nothing else need be changed."""
    model = onnx.ModelProto()
    model.CopyFrom(collected()[name].model)
    model.ir_version = min(model.ir_version, IR)
    for opset in model.opset_import:
        opset.version = min(opset.version, OPSET)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return collected()[name].model
    return model


def array(held: Any) -> NDArray[Any]:
    return numpy_helper.to_array(held) if isinstance(held, TensorProto) else np.asarray(held)


def inputs_of(name: str) -> dict[str, NDArray[Any]]:
    case = collected()[name]
    return {v.name: array(a) for v, a in zip(case.model.graph.input, case.data_sets[0][0], strict=True)}


def expected_of(combination: Combination) -> NDArray[Any]:
    case = collected()[combination.case]
    names = [value.name for value in case.model.graph.output]
    return array(case.data_sets[0][1][names.index(combination.output)])


@functools.cache
def runtime(name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(runnable(name).SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(combination: Combination, point: Floats | None = None) -> Floats:
    """The output that plain onnxruntime computes, flat: with the case's own inputs, or at another point."""
    feeds = inputs_of(combination.case)
    if point is not None:
        feeds[combination.varied] = np.asarray(point, dtype=feeds[combination.varied].dtype)
    return np.asarray(runtime(combination.case).run([combination.output], feeds)[0], dtype=np.float64).ravel()


def runtime_fails(combination: Combination) -> bool:
    try:
        run(combination)
    except Exception:
        # There is no telling what onnxruntime raises: its own errors, RuntimeError, ValueError.
        return True
    return False


def not_finite(combination: Combination) -> bool:
    data = inputs_of(combination.case).values()
    return any(a.dtype.kind == "f" and not np.isfinite(a).all() for a in data)


def is_empty(combination: Combination) -> bool:
    return 0 in (inputs_of(combination.case)[combination.varied].size, expected_of(combination).size)


HOLDS: dict[str, Callable[[Combination], bool]] = {RUNTIME: runtime_fails, NOT_FINITE: not_finite, EMPTY: is_empty}


def error_of(found: Floats, expected: Floats) -> float:
    """The largest error relative to the largest output, or to 1."""
    return float(np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0)))


def close(found: Floats, expected: Floats, limit: float, what: str) -> None:
    assert found.shape == expected.shape, f"{what}: {found.shape} instead of {expected.shape}"
    error = error_of(found, expected)
    assert error <= limit, f"{what}: off by {error:.3g} of the largest, at most {limit:.3g} is allowed"


def coarsest(combination: Combination, expected: NDArray[Any]) -> float:
    """The epsilon of the least precise type in which the case holds data."""
    held = [*inputs_of(combination.case).values(), expected]
    return max(float(np.finfo(a.dtype).eps) for a in held if a.dtype.kind == "f")


def load(path: Path, combination: Combination) -> lronnx.Network:
    path.write_bytes(runnable(combination.case).SerializeToString())
    fixed = inputs_of(combination.case)
    del fixed[combination.varied]
    return lronnx.load(path, output=combination.output, fixed_inputs=fixed)


def points(combination: Combination) -> tuple[Floats, Floats]:
    """The case's own input, and another one of the same size."""
    start = inputs_of(combination.case)[combination.varied].astype(np.float64)
    scale = np.abs(start).max(initial=0.0) or 1.0
    generator = np.random.default_rng([*str(combination).encode()])
    return start, scale * generator.standard_normal(start.shape)


def check(path: Path, combination: Combination) -> None:
    """Assert that lronnx computes a case's expected output, and what the runtime does on the way from there."""
    held = expected_of(combination)
    expected = held.astype(np.float64).ravel()
    limit = ULPS * coarsest(combination, held)
    network = load(path, combination)
    start, end = points(combination)
    regions = MAX_REGIONS if network.units < MANY_UNITS else FEW_REGIONS
    walk = network.walk(start, end, device="cpu", max_regions=regions)
    if str(combination) in DECIMALS:
        close(walk.values[0], expected, 10.0 ** -DECIMALS[str(combination)], "the expected output as it is written")
    elif str(combination) not in DEVIATING:
        close(walk.values[0], expected, limit, "the expected output")
    widths = np.diff(walk.t)
    assert (widths > 0).all(), "edges that do not increase"
    assert walk.t[0] == 0
    assert walk.partial or walk.t[-1] == 1
    middles = (walk.values[:-1] + walk.values[1:]) / 2
    close(walk.values[:-1] + walk.slopes * (widths / 2)[:, None], middles, DOUBLE, "half-way along the slopes")
    for t, middle in zip((walk.t[:-1] + walk.t[1:]) / 2, middles, strict=True):
        close(middle, run(combination, start + t * (end - start)), limit, f"onnxruntime at t = {t}")
    assert walk.self_check.ok, walk.self_check


@pytest.mark.parametrize("combination", combinations(), ids=str)
def test_case(tmp_path: Path, combination: Combination) -> None:
    path = tmp_path / "case.onnx"
    excluded, refused = entry(EXCLUDED, combination), entry(REFUSED, combination)
    if excluded is not None:
        assert HOLDS[EXCLUDED[excluded]](combination), f"'{excluded}' excludes it for a reason that does not hold"
        # Not walked, but not fallen over either. ModelError means a bad file, or one that the runtime cannot run.
        allowed = (lronnx.InputError, lronnx.NotPiecewiseAffineError)
        with pytest.raises((*allowed, lronnx.ModelError) if EXCLUDED[excluded] == RUNTIME else allowed):
            load(path, combination).walk(*points(combination), device="cpu")
        return
    if refused is not None:
        with pytest.raises(lronnx.NotPiecewiseAffineError, match=re.escape(REFUSED[refused])):
            load(path, combination)
        return
    for reason, holds in HOLDS.items():
        assert not holds(combination), f"to be excluded: {reason}"
    expected = expected_of(combination)
    error = error_of(run(combination), expected.astype(np.float64).ravel())
    listed = str(combination) in DEVIATING or str(combination) in DECIMALS
    assert (error > ULPS * coarsest(combination, expected)) == listed, f"onnxruntime is off by {error:.3g}"
    check(path, combination)


@functools.cache
def fates() -> dict[str, list[Combination]]:
    """All combinations, by what is to become of them."""
    found: dict[str, list[Combination]] = {"excluded": [], "refused": [], "walked": []}
    for combination in combinations():
        tables = {"excluded": EXCLUDED, "refused": REFUSED}
        fate = next((name for name, table in tables.items() if entry(table, combination) is not None), "walked")
        found[fate].append(combination)
    return found


@pytest.mark.skipif(not onnx.__version__.startswith("1.23."), reason="the tables are about the cases of ONNX 1.23")
def test_every_entry_is_needed() -> None:
    assert {entry(EXCLUDED, combination) for combination in combinations()} - {None} == set(EXCLUDED)
    kept = [combination for combination in combinations() if entry(EXCLUDED, combination) is None]
    assert {entry(REFUSED, combination) for combination in kept} - {None} == set(REFUSED)
    assert {str(combination) for combination in fates()["walked"]} >= {*DEVIATING, *DECIMALS}


# ---- the tests, tested: an error in any operator fails its cases

# Operators of the table without a case that is walked.
UNTESTED = {
    ("", "Cast"): "every case holds NaN and infinity",
    ("", "CastLike"): "every case holds NaN and infinity",
    ("", "Pow"): "a power other than 1 in every case",
    ("", "ThresholdedRelu"): "jumps in every case",
    ("", "Trilu"): "every case holds integers",
    ("ai.onnx.ml", "Scaler"): "not in the standard's node cases",
    ("com.microsoft", "FusedMatMul"): "not in the standard",
}
FACTOR = 1.001


@functools.cache
def own_cases() -> dict[Key, Combination]:
    """For every operator of the table that some case has as its only node, the first such case that is walked."""
    found: dict[Key, Combination] = {}
    for combination in fates()["walked"]:
        nodes = runnable(combination.case).graph.node
        if len(nodes) == 1:
            found.setdefault((nodes[0].domain, nodes[0].op_type), combination)
    return found


def test_every_operator_has_a_case() -> None:
    rules = {key for key, rule in TABLE.items() if rule.emit is not None or rule.switch is not None}
    assert rules - set(own_cases()) == set(UNTESTED)


def scaled(rule: OpRule, values: float, slopes: float) -> OpRule:
    """The rule of an operator whose values and slopes are multiplied by these factors."""

    def emit(e: Emitter, node: Any, operands: Any, slope: bool) -> list[Lanes]:
        assert rule.emit is not None
        made = rule.emit(e, node, operands, slope)
        return [e.elementwise("Mul", x, np.array(slopes if slope else values)) for x in made]

    def switch(e: Emitter, node: Any, operands: Any, slope: bool) -> Kinks | Choice:
        assert rule.switch is not None
        made, factor = rule.switch(e, node, operands, slope), slopes if slope else values
        if isinstance(made, Choice):
            return replace(made, candidates=e.one("Mul", made.candidates, e.constant(np.array(factor))))
        if slope:
            # The kinks of the values serve the slopes as well: only the argument is the slope's own.
            return replace(made, argument=e.elementwise("Mul", made.argument, np.array(factor)))
        jumps = tuple(factor * jump for jump in made.jumps)
        return replace(made, base=factor * made.base, offset=factor * made.offset, jumps=jumps)

    return replace(rule, emit=None if rule.emit is None else emit, switch=None if rule.switch is None else switch)


@pytest.mark.parametrize(("values", "slopes"), [(FACTOR, FACTOR), (1.0, FACTOR)])
@pytest.mark.parametrize("key", list(own_cases()), ids=lambda key: key[1])
def test_scaling_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: Key, values: float, slopes: float
) -> None:
    combination = own_cases()[key]
    monkeypatch.setitem(TABLE, key, scaled(TABLE[key], values, slopes))
    with pytest.raises(AssertionError, match="the expected output" if values != 1 else "half-way along the slopes"):
        check(tmp_path / "case.onnx", combination)


@pytest.mark.parametrize(
    "combination",
    [
        Combination("test_gemm_default_vector_bias", "a", "y"),
        Combination("test_batchnorm_example", "x", "y"),
        Combination("test_constant_pad", "x", "y"),
        Combination("test_sub_bcast", "x", "z"),
    ],
    ids=str,
)
def test_a_dropped_bias_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, combination: Combination) -> None:
    (node,) = runnable(combination.case).graph.node
    rule = TABLE[(node.domain, node.op_type)]
    assert rule.emit is not None
    emit = rule.emit
    without = replace(rule, emit=lambda e, node, operands, slope: emit(e, node, operands, True))
    monkeypatch.setitem(TABLE, (node.domain, node.op_type), without)
    with pytest.raises(AssertionError, match="the expected output"):
        check(tmp_path / "case.onnx", combination)


def test_a_missing_kink_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its upper kink, which lies above the case's own input: only the walk can tell."""
    combination = Combination("test_hardsigmoid_default", "x", "y")
    rule = TABLE[("", "HardSigmoid")]

    def switch(e: Emitter, node: Any, operands: Any, slope: bool) -> Kinks | Choice:
        assert rule.switch is not None
        made = rule.switch(e, node, operands, slope)
        assert isinstance(made, Kinks)
        return replace(made, kinks=made.kinks[:1], jumps=made.jumps[:1])

    monkeypatch.setitem(TABLE, ("", "HardSigmoid"), replace(rule, switch=switch))
    with pytest.raises(AssertionError, match="onnxruntime at"):
        check(tmp_path / "case.onnx", combination)
