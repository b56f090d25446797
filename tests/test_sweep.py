"""The sweep against the walk and against the oracle: batches of chunks, devices, early ends, faults that must show.

The oracle's comparisons of whole segments run on both engines in ``test_walk_exact``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from oracle import analyse
from strategies import GENERIC, LATTICE, Builder, Case, Tensor, cases
from test_walk_exact import RANDOM, check, differences, ties_of_units, too_delicate, units_that_come_to_rest

import lronnx
from lronnx import agreement, bends, network, sweeper, tensors
from lronnx.bends import Rows
from lronnx.walker import PatternError


def image_network(folder: Path, seed: int = 0) -> lronnx.Network:
    """Convolutions, a MaxPool behind a ReLU (windows of nothing but zeros), a residual block, a Clip, a Concat."""
    rng = np.random.default_rng(seed)
    b = Builder((2, 8, 8))

    def conv(x: Tensor, channels: int, stride: int = 1) -> Tensor:
        weight = b.constant(rng.standard_normal((channels, x.shape[1], 3, 3)) * 0.4)
        bias = b.constant(rng.standard_normal(channels) * 0.5 - 0.3)
        size = -(-x.shape[2] // stride)
        shape = (1, channels, size, size)
        return b.add("Conv", [x, weight, bias], shape, pads=[1, 1, 1, 1], strides=[stride, stride])

    x = b.relu(conv(b.input, 6))
    pooled = b.add("MaxPool", [x], (1, 6, 4, 4), kernel_shape=[2, 2], strides=[2, 2])
    y = b.clip(conv(pooled, 6), 0.0, 1.5)
    y = b.add("LeakyRelu", [b.sum(conv(y, 6), pooled)], (1, 6, 4, 4), alpha=0.1)
    both = b.add("Concat", [y, conv(x, 4, 2)], (1, 10, 4, 4), axis=1)
    flat = b.add("Flatten", [b.relu(both)], (1, 160))
    least = b.add("Min", [b.gemm(flat, rng.standard_normal((5, 160))), b.constant(np.zeros((1, 5)))], (1, 5))
    onnx.save(b.model(b.gemm(least, rng.standard_normal((3, 5)))), folder / "m.onnx")
    return lronnx.load(folder / "m.onnx")


def points_of(net: lronnx.Network, count: int, seed: int = 1, scale: float = 2.0) -> Any:
    return scale * np.random.default_rng(seed).standard_normal((count, *net.input_shape))


def agree(one: Any, other: Any) -> None:
    found = agreement.compare(one.segments, other.segments, "double")
    assert found.ok, found
    for left, right in zip(one.segments, other.segments, strict=True):
        assert [sorted(s) for s in left.switches] == [sorted(s) for s in right.switches]
        scale = np.abs(left.slopes).max(initial=1.0)
        np.testing.assert_allclose(left.slopes, right.slopes, rtol=0, atol=1e-9 * scale)
        assert right.self_check.ok


@pytest.mark.parametrize("lanes", [None, 2, 5, 64, 4000])
def test_many_segments_swept_together_are_those_walked(tmp_path: Path, lanes: int | None) -> None:
    net = image_network(tmp_path)
    # So few at once take their time.
    few = lanes is not None and lanes < 10
    points = points_of(net, 3 if few else 12)
    walked = net.walk_path(points, closed=True, engine="walk")
    assert walked.regions > (200 if few else 500)
    agree(walked, net.walk_path(points, closed=True, engine="sweep", lanes=lanes))


def test_short_segments_share_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = image_network(tmp_path)
    points = points_of(net, 60, scale=0.2)
    sizes: list[int] = []
    inside = sweeper.Sweeper._sweep

    def sweep(self: Any, worker: Any, batch: Any) -> None:
        sizes.append(len(batch))
        inside(self, worker, batch)

    monkeypatch.setattr(sweeper.Sweeper, "_sweep", sweep)
    swept = net.walk_path(points, engine="sweep", lanes=500)
    assert max(sizes) > 2
    agree(net.walk_path(points, engine="walk"), swept)


@RANDOM
@given(case=cases(GENERIC))
def test_paths_of_generic_networks(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    compare_on_a_path(tmp_path_factory, case)


@RANDOM
@given(case=cases(LATTICE))
def test_paths_of_lattice_networks(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    compare_on_a_path(tmp_path_factory, case)


def compare_on_a_path(factory: pytest.TempPathFactory, case: Case) -> None:
    """There and back, and a detour: three segments in one batch, with chunks of few rows and of many."""
    path = factory.mktemp("case") / "m.onnx"
    onnx.save(case.model, path)
    start, end = (np.asarray(point, np.float64) for point in (case.start, case.end))
    found = [analyse(case.model, *pair) for pair in ((case.start, case.end), (case.end, case.start))]
    if any(too_delicate(one) for one in found):
        return
    net = lronnx.load(path)
    for lanes in (3, 200):
        swept = net.walk_path([start, end, start], engine="sweep", lanes=lanes)
        for walk, one in zip(swept.segments, found, strict=True):
            assert differences(walk, one, case.model) == []


@pytest.mark.parametrize("precision", ["double", "single"])
def test_rows_on_a_device_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    in_memory, points = image_network(tmp_path), points_of(image_network(tmp_path), 9)
    expected = in_memory.walk_path(points, engine="sweep", precision=precision)
    dtype = network.PRECISIONS[precision]
    # The CPU provider is a device like any other, with the same bindings.
    monkeypatch.setattr(network, "HostStages", lambda stages: tensors.DeviceStages(stages, dtype, "cpu"))
    on_device = lronnx.load(tmp_path / "m.onnx")
    found = on_device.walk_path(points, engine="sweep", precision=precision)
    assert isinstance(next(iter(on_device._stages.values())), tensors.DeviceStages)
    for one, other in zip(expected.segments, found.segments, strict=True):
        assert one.switches == other.switches
        np.testing.assert_allclose(one.t, other.t, rtol=0, atol=1e-12 if precision == "double" else 1e-6)
        if precision == "double":
            np.testing.assert_allclose(one.slopes, other.slopes, rtol=0, atol=1e-12 * np.abs(one.slopes).max())


def test_a_winner_that_appears_and_loses_again_inside_a_row() -> None:
    b = Builder((1,))
    y = b.reduction("ReduceMax", b.gemm(b.input, [[-1], [0], [1]], [0, 0.25, 0]), [1])
    for walk in check(b.model(y), [-1], [1]):
        np.testing.assert_allclose(walk.t, [0, 0.375, 0.625, 1], rtol=0, atol=1e-12)
        assert [(s.before, s.after) for (s,) in walk.switches] == [(0, 1), (1, 2)]
    # The same for the smallest of three.
    b = Builder((1,))
    y = b.reduction("ReduceMin", b.gemm(b.input, [[-1], [0], [1]], [0, -0.25, 0]), [1])
    for walk in check(b.model(y), [-1], [1]):
        np.testing.assert_allclose(walk.t, [0, 0.375, 0.625, 1], rtol=0, atol=1e-12)
        assert [(s.before, s.after) for (s,) in walk.switches] == [(2, 1), (1, 0)]


def test_the_first_stage_is_evaluated_once_per_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = image_network(tmp_path)
    start, end = points_of(net, 2)
    rows: dict[int, int] = {}
    chunks = 0
    inside, sweep = tensors.HostWorker.run, sweeper.Sweeper._sweep

    def run(self: Any, number: int, inputs: Any, count: int) -> Any:
        rows[number] = rows.get(number, 0) + count
        return inside(self, number, inputs, count)

    def counted(self: Any, worker: Any, batch: Any) -> None:
        nonlocal chunks
        chunks += len(batch)
        sweep(self, worker, batch)

    monkeypatch.setattr(tensors.HostWorker, "run", run)
    monkeypatch.setattr(sweeper.Sweeper, "_sweep", counted)
    walk = net.walk(start, end, engine="sweep")
    assert rows[0] == chunks
    counts = [rows[number] for number in sorted(rows)]
    assert counts == sorted(counts)
    assert counts[-1] < 1.2 * (walk.regions + chunks)
    assert walk.forward_passes < 1.2 * (walk.regions + 20)


# --- results that end early -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [lronnx.Stop.SOON, lronnx.Stop.NOW])
def test_a_sweep_that_is_stopped_is_the_beginning_of_the_whole(tmp_path: Path, wish: lronnx.Stop) -> None:
    net = image_network(tmp_path)
    points = points_of(net, 41)
    whole = net.walk_path(points, engine="sweep")
    asked = 0

    def stop() -> lronnx.Stop:
        nonlocal asked
        asked += 1
        return wish if asked > 3 else lronnx.Stop.NO

    part = net.walk_path(points, engine="sweep", lanes=20, stop=stop)
    assert part.partial
    assert part.self_check.ok
    assert 0 < part.regions < whole.regions
    for one, other in zip(part.segments, whole.segments, strict=False):
        np.testing.assert_allclose(one.t[:-1], other.t[: one.regions], rtol=0, atol=1e-12)
        assert one.switches == other.switches[: one.regions - 1]


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
@pytest.mark.parametrize("lanes", [None, 7])
def test_a_limit_is_met_exactly_by_the_sweep(tmp_path: Path, limit: int, lanes: int | None) -> None:
    net = image_network(tmp_path)
    start, end = points_of(net, 2)
    whole = net.walk(start, end, engine="walk")
    part = net.walk(start, end, max_regions=limit, lanes=lanes, engine="sweep")
    assert (part.regions, part.partial) == (limit, True)
    np.testing.assert_allclose(part.t, whole.t[: limit + 1], rtol=0, atol=1e-12)


def test_an_error_in_any_thread_ends_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = image_network(tmp_path)
    inside = tensors.HostWorker.run
    left = 5

    def run(self: Any, *arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise lronnx.ModelError("out of order")
        return inside(self, *arguments)

    monkeypatch.setattr(tensors.HostWorker, "run", run)
    with pytest.raises(lronnx.ModelError, match="out of order"):
        net.walk_path(points_of(net, 9), engine="sweep")


def test_an_interrupt_in_python_ends_the_sweep(tmp_path: Path) -> None:
    net = image_network(tmp_path)

    def interrupt(progress: lronnx.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.walk_path(points_of(net, 9), engine="sweep", progress=interrupt)


@pytest.mark.parametrize("engine", ["walk", "sweep"])
def test_less_memory_means_fewer_lanes(tmp_path: Path, engine: str) -> None:
    net = image_network(tmp_path)
    points = points_of(net, 3)
    found = [net.walk_path(points, engine=engine, memory=size) for size in (1, 2_000_000, None)]
    assert found[0].lanes < found[1].lanes < found[2].lanes
    assert len({path.regions for path in found}) == 1
    with pytest.raises(lronnx.InputError, match="memory"):
        net.walk_path(points, engine=engine, memory=0)


# --- two engines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["double", "single"])
def test_both_engines_are_compared(tmp_path: Path, precision: str) -> None:
    net = image_network(tmp_path)
    points = points_of(net, 4)
    seen: list[float] = []
    path = net.walk_path(points, engine="both", precision=precision, progress=lambda found: seen.append(found.fraction))
    assert path.engine == "both"
    assert path.agreement is not None
    assert path.agreement.ok
    if precision == "double":
        assert path.agreement.breakpoints == (path.breakpoints, path.breakpoints)
    assert path.agreement.largest_t < (1e-11 if precision == "double" else 1e-3)
    assert seen == sorted(seen)
    assert net.walk_path(points, engine="sweep").agreement is None
    with pytest.raises(lronnx.InputError, match="unknown engine 'run'"):
        net.walk_path(points, engine="run")


def test_a_comparison_notices_what_differs(tmp_path: Path) -> None:
    net = image_network(tmp_path)
    path = net.walk_path(points_of(net, 3), engine="sweep")

    def compare(change: Callable[[Any], dict[str, Any]]) -> lronnx.agreement.Agreement:
        first, *others = path.segments
        fields = {name: getattr(first, name) for name in ("t", "values", "slopes", "switches")}
        rest = {
            name: getattr(first, name)
            for name in ("length", "self_check", "partial", "forward_passes", "seconds", "precision")
        }
        other = lronnx.Walk(**{**fields, **change(first)}, **rest)
        return agreement.compare(path.segments, [other, *others], "double")

    assert compare(lambda walk: {}).ok
    moved = compare(lambda walk: {"t": np.where(np.arange(len(walk.t)) == 3, walk.t + 1e-8, walk.t)})
    assert not moved.ok
    assert moved.largest_t == pytest.approx(1e-8, rel=1e-6)
    higher = compare(lambda walk: {"values": walk.values + 1e-6})
    assert not higher.ok
    assert higher.largest_value > 1e-9
    switches = path.segments[0].switches
    other_unit = compare(lambda walk: {"switches": ((switches[0][0]._replace(unit=10_000),), *switches[1:])})
    assert (other_unit.ok, other_unit.unmatched) == (False, 2)
    fewer = compare(
        lambda walk: {
            "t": np.delete(walk.t, 1),
            "values": np.delete(walk.values, 1, axis=0),
            "slopes": walk.slopes[1:],
            "switches": switches[1:],
        }
    )
    assert not fewer.ok
    assert fewer.breakpoints == (path.breakpoints, path.breakpoints - 1)


def test_what_both_have_found_is_compared_if_they_end_early(tmp_path: Path) -> None:
    net = image_network(tmp_path)
    path = net.walk_path(points_of(net, 2), engine="both", max_regions=50)
    assert path.partial
    assert path.agreement is not None
    assert path.agreement.ok
    assert path.agreement.breakpoints[0] >= 48


# --- faults in the sweep itself are noticed -------------------------------------------------------------------------


def three_lines() -> tuple[onnx.ModelProto, Any, Any]:
    b = Builder((1,))
    return b.model(b.reduction("ReduceMax", b.gemm(b.input, [[-1], [0], [1]], [0, 0.05, 0]), [1])), [-0.8], [1]


def two_layers() -> tuple[onnx.ModelProto, Any, Any]:
    rng = np.random.default_rng(3)
    b = Builder((3,))
    x = b.relu(b.gemm(b.input, rng.standard_normal((12, 3)), rng.standard_normal(12)))
    x = b.clip(b.gemm(x, rng.standard_normal((12, 12))), -1.0, 1.0)
    return b.model(b.gemm(x, rng.standard_normal((2, 12)))), [-2, 1, 0.5], [2, -1, 1]


def resting() -> tuple[onnx.ModelProto, Any, Any]:
    return units_that_come_to_rest(0, -1, 1000.0)


def _lose_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Rows.insert
    monkeypatch.setattr(Rows, "insert", lambda self, owner, t, ends: inside(self, owner[1:], t[1:], ends))


def _reach_less(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = bends.reachable
    monkeypatch.setattr(
        sweeper, "reachable", lambda values, above, lengths, *rest: inside(values, above, lengths / 4, *rest)
    )


def _contest_less(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = bends.contested
    monkeypatch.setattr(
        sweeper, "contested", lambda values, winners, lengths, *rest: inside(values, winners, lengths / 4, *rest)
    )


def _go_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = bends._envelope

    def envelope(gaps: Any, slopes: Any, width: float) -> Any:
        found = inside(gaps, slopes, width)
        return [found[0], found[-1]]

    monkeypatch.setattr(bends, "_envelope", envelope)


def _flip_late(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = sweeper.rows_from
    monkeypatch.setattr(sweeper, "rows_from", lambda *arguments: inside(*arguments) + 1)


def _keep_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tensors.HostWorker.activate

    def activate(self: Any, *arguments: Any) -> Any:
        *rest, positions, numbers = arguments
        return inside(self, *rest, positions[:0], numbers[:0])

    monkeypatch.setattr(tensors.HostWorker, "activate", activate)


def _never_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bends, "_settled", lambda edges, *rest: edges)


FAULTS = [
    (_lose_a_cut, two_layers),
    (_reach_less, two_layers),
    (_contest_less, three_lines),
    (_go_straight, three_lines),
    (_flip_late, two_layers),
    (_keep_slopes, two_layers),
    (_never_settle, resting),
    (_lose_a_cut, ties_of_units),
]


@pytest.mark.parametrize(("plant", "build"), FAULTS, ids=lambda f: f.__name__.strip("_"))
def test_a_fault_in_the_sweep_is_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    build: Callable[[], tuple[onnx.ModelProto, Any, Any]],
) -> None:
    model, start, end = build()
    found = analyse(model, start, end)
    onnx.save(model, tmp_path / "m.onnx")
    net = lronnx.load(tmp_path / "m.onnx")

    def sweep() -> Any:
        return net.walk(np.asarray(start, np.float64), np.asarray(end, np.float64), engine="sweep")

    assert differences(sweep(), found, model) == []
    plant(monkeypatch)
    try:
        wrong = differences(sweep(), found, model)
    except (PatternError, ValueError, IndexError):
        return
    assert wrong


def test_a_pattern_lost_at_a_border_fails_the_self_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = image_network(tmp_path)
    start, end = points_of(net, 2)
    inside = bends.kink_flips

    def flips(*arguments: Any) -> Any:
        found = inside(*arguments)
        keep = slice(0, max(len(found.t) - 1, 0))
        return bends.Flips(found.owner[keep], found.unit[keep], found.t[keep], found.before[keep], found.corrected)

    monkeypatch.setattr(sweeper, "kink_flips", flips)
    walk = net.walk(start, end, engine="sweep", lanes=30)
    assert walk.self_check.end_pattern_mismatches > 0
    assert not walk.self_check.ok


def test_switches_that_coincide_are_one_breakpoint_in_single_precision_too(tmp_path: Path) -> None:
    net = image_network(tmp_path)
    points = points_of(net, 6)
    double, single = (net.walk_path(points, precision=precision) for precision in ("double", "single"))
    assert single.switch_count == double.switch_count > double.breakpoints
    assert single.breakpoints == double.breakpoints


def test_a_network_of_one_region(tmp_path: Path) -> None:
    b = Builder((2,))
    check(b.model(b.gemm(b.input, [[1, 2]], [3])), [0, 0], [1, 1])
    b = Builder((2,))
    check(b.model(b.relu(b.gemm(b.input, [[1, 2]], [300]))), [0, 0], [1, 1])


SAWTOOTH = 5


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sweep", "walk"])
def test_memory_is_bounded_on_a_segment_of_fifty_thousand_regions(tmp_path: Path, engine: str) -> None:
    # A sawtooth leads through the kinks of some thousands of units again and again.
    rng = np.random.default_rng(13)
    b = Builder((1,))
    x: Tensor = b.input
    for _ in range(SAWTOOTH):
        pair = b.relu(b.gemm(x, [[2], [4]], [0, -2]))
        x = b.gemm(pair, [[1, -1]])
    wide = b.relu(b.gemm(x, np.ones((3200, 1)), -rng.uniform(0, 1, 3200)))
    onnx.save(b.model(b.gemm(wide, rng.standard_normal((3, 3200)))), tmp_path / "m.onnx")
    np.savez(tmp_path / "p.npz", start=[[0.001]], end=[[0.999]])
    script = f"""
import pathlib, resource, lronnx, numpy as np
network = lronnx.load({str(tmp_path / "m.onnx")!r})
points = np.load({str(tmp_path / "p.npz")!r})
walk = network.walk(points["start"], points["end"], engine={engine!r}, memory=20_000_000, device="cpu",
                    max_regions=None if {engine!r} == "sweep" else 2000)
# On Linux a process's own peak: the other one begins with what its parent had.
status = pathlib.Path("/proc/self/status")
peaks = [line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line] if status.exists() else []
print(walk.regions, walk.self_check.ok, *(peaks or [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    regions, ok, peak = done.stdout.split()
    assert ok == "True"
    assert int(regions) >= (50_000 if engine == "sweep" else 2000)
    kilobytes = int(peak) // 1024 if sys.platform == "darwin" else int(peak)
    assert kilobytes * 1024 < 20e6 + 500e6


@pytest.mark.parametrize("engine", ["sweep", "walk"])
def test_with_one_thread_a_result_does_not_depend_on_what_was_walked_before(tmp_path: Path, engine: str) -> None:
    image_network(tmp_path)

    def found(order: list[int]) -> list[Any]:
        net = lronnx.load(tmp_path / "m.onnx", threads=1)
        paths = {seed: points_of(net, 3, seed) for seed in order}
        made = {seed: net.walk_path(path, engine=engine, memory=10**8) for seed, path in paths.items()}
        return [made[seed] for seed in sorted(made)]

    for one, other in zip(found([0, 1, 2]), found([2, 0, 1]), strict=True):
        for left, right in zip(one.segments, other.segments, strict=True):
            assert left.regions > 20
            assert left.t.tobytes() == right.t.tobytes()
            assert left.values.tobytes() == right.values.tobytes()
            assert left.slopes.tobytes() == right.slopes.tobytes()
            assert (left.switches, left.self_check) == (right.switches, right.self_check)
            assert left.forward_passes == right.forward_passes


def test_threads_must_be_a_number(tmp_path: Path) -> None:
    image_network(tmp_path)
    with pytest.raises(lronnx.InputError, match="threads"):
        lronnx.load(tmp_path / "m.onnx", threads=0)
