"""Networks of the same weights, as four frameworks exported them, have the same regions.

The files in ``tests/interoperability`` are what one run of ``python -m models.interoperability`` wrote. With
``--frameworks`` the command itself runs, which needs ``lronnx[interoperability]``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import lronnx
from lronnx.comparison import Verdict
from lronnx.network import Network
from lronnx.regions import PathWalk
from models import interoperability

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "interoperability"
FOUND: dict[str, Any] = json.loads((KEPT / "interoperability.json").read_text(encoding="utf-8"))
FILES: dict[str, dict[str, Any]] = {file["file"]: file for file in FOUND["files"]}
# Of every network the first file; of all others, the first that they are compared with.
REFERENCES: dict[str, str] = {}
for _name, _file in FILES.items():
    REFERENCES.setdefault(_file["network"], _name)
PAIRS = [(REFERENCES[file["network"]], name) for name, file in FILES.items() if name not in REFERENCES.values()]
SAME_T = 1e-9
# Weights that are rounded again move a breakpoint by their rounding times how fast others move, over how fast it does.
ROUNDED_T = 1e-5
SMALL = 60_000
ALL_SMALL = 500_000


def points(name: str) -> list[NDArray[np.float64]]:
    file = FILES[name]
    with np.load(KEPT / "points.npz") as arrays:
        return list(arrays[interoperability.key_of(file["network"], file["layout"])].astype(np.float64))


@cache
def walk(name: str) -> tuple[Network, PathWalk]:
    network = lronnx.load(KEPT / name, output=FILES[name]["output"], threads=1)
    return network, network.walk_path(points(name), device="cpu")


def compare(first: str, other: Network) -> lronnx.Comparison:
    """Along the first file's points, which the other network may want in another layout."""
    return lronnx.compare(walk(first)[0], other, np.array(points(first)), device="cpu")


def rounded_again(first: str, other: str) -> bool:
    """Whether an exporter computed weights of its own and rounded them: the two files hold different numbers."""
    return FILES[first]["weights_rounded_again"] + FILES[other]["weights_rounded_again"] > 0


def test_every_framework_and_exporter_is_there() -> None:
    written = {(file["network"], file["framework"], file["exporter"]) for file in FILES.values()}
    exporters = {
        "scikit-learn": {"skl2onnx"},
        "PyTorch": {"TorchScript", "dynamo"},
        "Keras": {"tf2onnx", "model.export"},
        "JAX": {"jax2onnx"},
    }
    for framework, all_of_it in exporters.items():
        for exporter in all_of_it:
            assert ("mlp", framework, exporter) in written
            assert framework == "scikit-learn" or ("cnn", framework, exporter) in written
    assert {FILES[name]["framework"] for network, name in REFERENCES.items() if "own" in network} == set(exporters)


def test_the_kept_files_are_small_and_tell_nothing_of_where_they_were_made() -> None:
    sizes = {path.name: path.stat().st_size for path in KEPT.iterdir()}
    assert set(sizes) == {*FILES, "points.npz", "interoperability.json", "README.md"}
    assert max(sizes.values()) < SMALL
    assert sum(sizes.values()) < ALL_SMALL
    for name in FILES:
        content = (KEPT / name).read_bytes()
        assert not [trace for trace in (b"site-packages", b".py", b"/home", b"/root", b"/tmp") if trace in content]


def test_the_kept_files_are_told_of() -> None:
    told = " ".join((KEPT / "README.md").read_text(encoding="utf-8").split())
    for package, version in FOUND["versions"].items():
        assert f"{package} {version}" in told


@pytest.mark.parametrize("name", FILES)
def test_it_is_walked(name: str) -> None:
    network, found = walk(name)
    assert found.self_check.ok
    assert found.regions == FILES[name]["walk"]["regions"] > 10
    assert network.outputs == 10


@pytest.mark.parametrize(("first", "other"), PAIRS)
def test_breakpoints_are_the_same(first: str, other: str) -> None:
    tolerance = ROUNDED_T if rounded_again(first, other) else SAME_T
    expected, found = walk(first)[1], walk(other)[1]
    assert [len(segment.t) for segment in found.segments] == [len(segment.t) for segment in expected.segments]
    for mine, its in zip(expected.segments, found.segments, strict=True):
        np.testing.assert_allclose(its.t, mine.t, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("first", "other"), PAIRS)
def test_regions_are_identical(first: str, other: str) -> None:
    found = compare(first, walk(other)[0])
    assert found.verdict == Verdict.IDENTICAL
    if not rounded_again(first, other):
        assert found.rounding == "double"
    assert found.pair["parts_at"] is None


def test_rounding_again_is_seen() -> None:
    # A file that folds BatchNorm holds other numbers; were the difference explained without, it would not fold any.
    [unfolded] = [name for name in FILES if "as-it-is" in name]
    folded = [other for first, other in PAIRS if first == unfolded and rounded_again(first, other)]
    assert len(folded) >= 3
    assert {compare(unfolded, walk(other)[0]).rounding for other in folded} == {"float32"}


@pytest.mark.parametrize("name", [pair[1] for pair in PAIRS if FILES[pair[0]]["network"] in ("mlp", "cnn")])
def test_a_changed_weight_is_noticed(name: str, tmp_path: Path) -> None:
    model = onnx.load(KEPT / name)
    weight = max(model.graph.initializer, key=lambda tensor: int(np.prod(tensor.dims)))
    array = onnx.numpy_helper.to_array(weight).copy()
    middle = np.abs(array).argmax()
    array.flat[middle] *= 1.001
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    path = tmp_path / name
    path.write_bytes(model.SerializeToString())
    network = lronnx.load(path, output=FILES[name]["output"], threads=1)
    found = compare(REFERENCES[FILES[name]["network"]], network)
    assert found.verdict == Verdict.DIFFERENT
    assert found.pair["parts_at"] is not None


# The command.


def made(**attributes: Any) -> Any:
    return SimpleNamespace(network="cnn", framework="Keras", exporter="model.export", **attributes)


def test_names_of_files() -> None:
    assert interoperability.file_name(made()) == "cnn_keras_model-export.onnx"
    assert all(name == interoperability.file_name(SimpleNamespace(**file)) for name, file in FILES.items())


def test_weights_are_found_bit_by_bit_in_any_layout() -> None:
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(3, 3, 2, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    rounded = np.nextafter(bias, np.float32(9))
    arrays = {"kernel": kernel.transpose(3, 2, 0, 1), "rounded": rounded, "one": rounded[:1], "shape": np.arange(4)}
    nodes = [
        onnx.helper.make_node("Constant", [], ["bias"], value=onnx.numpy_helper.from_array(bias)),
        onnx.helper.make_node("Constant", [], ["axis"], value_int=1),
    ]
    graph = onnx.helper.make_graph(
        nodes, "g", [], [], [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    )
    assert interoperability.weights(made(model=onnx.helper.make_model(graph), parameters=(kernel, bias))) == (2, 1)


def test_log_probabilities_leave_out_what_a_softmax_does() -> None:
    logits = np.array([[1.0, 2.0, 4.0], [0.0, 0.0, 900.0]], np.float32)
    found = interoperability.log_probabilities(logits)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(interoperability.log_probabilities(found.astype(np.float32)), found, atol=1e-6)
    np.testing.assert_allclose(found[0] - found[0, 0], [0, 1, 3], rtol=1e-12)


def test_the_table_has_a_line_for_every_file() -> None:
    text = interoperability.table(FOUND)
    blocks = text.split("\n\n")
    assert len(blocks) == len(REFERENCES) + 1
    for network, block in zip(REFERENCES, blocks, strict=False):
        title, heads, *lines = block.splitlines()
        assert title.startswith(f"{network}: trained in {FILES[REFERENCES[network]]['framework']} ")
        files = [file for file in FILES.values() if file["network"] == network]
        for file, line in zip(files, lines, strict=True):
            assert line.startswith(file["framework"])
            at = heads.index("regions")
            assert line[at:].split()[0] == str(file["walk"]["regions"])
            verdict = line[heads.index("verdict") : heads.index("rounding")].strip()
            assert verdict == ("-" if file["file"] in REFERENCES.values() else "identical regions")


@pytest.mark.parametrize("only", [[], ["--only", "keras"]])
def test_what_cannot_do_without_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, only: list[str]) -> None:
    monkeypatch.setattr(interoperability, "missing", lambda framework: {"PyTorch": ["torch"]}.get(framework, []))
    done = CliRunner().invoke(interoperability.main, ["-o", str(tmp_path), *only])
    assert done.exit_code == 2
    assert f"PyTorch needs torch, not installed here: {interoperability.INSTALL}" in done.output
    assert not any(tmp_path.iterdir())


def without_keras(monkeypatch: pytest.MonkeyPatch, verdict: str) -> list[list[str]]:
    """Stand in for all of the work; returns the frameworks of each call."""
    calls: list[list[str]] = []

    def perform(_folder: Path, frameworks: list[str], **_options: Any) -> dict[str, Any]:
        calls.append(frameworks)
        return {**FOUND, "pairs": [{**FOUND["pairs"][0], "verdict": verdict}]}

    monkeypatch.setattr(interoperability, "missing", lambda framework: ["keras", "x"] if framework == "Keras" else [])
    monkeypatch.setattr(interoperability, "perform", perform)
    return calls


def test_what_is_not_installed_is_left_out_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = without_keras(monkeypatch, "identical regions")
    done = CliRunner().invoke(interoperability.main, ["-o", str(tmp_path)])
    assert done.exit_code == 0
    assert "Keras is left out: keras, x not installed" in done.output
    done = CliRunner().invoke(interoperability.main, ["-o", str(tmp_path), "--only", "JAX"])
    assert done.exit_code == 0
    assert calls == [["scikit-learn", "PyTorch", "JAX"]] * 2
    done = CliRunner().invoke(interoperability.main, ["-o", str(tmp_path), "--only", "Keras"])
    assert done.exit_code == 2
    assert "Keras needs keras, x" in done.output


def test_networks_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_keras(monkeypatch, "different")
    done = CliRunner().invoke(interoperability.main, ["-o", str(tmp_path)])
    assert done.exit_code == 1
    assert f"not of identical regions: {FOUND['pairs'][0]['files'][1]}" in done.output


def test_what_lronnx_says_last_is_told(tmp_path: Path) -> None:
    with pytest.raises(interoperability.Failed, match=r"walk .* ended with 2: .*nothing.onnx"):
        interoperability.lronnx("walk", tmp_path / "nothing.onnx", "--points", KEPT / "points.npz")


@pytest.mark.frameworks
def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.interoperability", "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    found = json.loads((tmp_path / "interoperability.json").read_text(encoding="utf-8"))
    assert done.stdout == (tmp_path / "interoperability.txt").read_text(encoding="utf-8")
    assert [file["file"] for file in found["files"]] == list(FILES)
    assert {path.name for path in tmp_path.glob("*.onnx")} == set(FILES)
    assert [tuple(pair["files"]) for pair in found["pairs"]] == PAIRS
    assert {pair["verdict"] for pair in found["pairs"]} == {"identical regions"}
    assert all(file["walk"]["self_check"]["ok"] for file in found["files"])
    assert all(file["accuracy"] > 0.8 for file in found["files"])
    with np.load(tmp_path / "points.npz") as arrays, np.load(KEPT / "points.npz") as kept:
        assert all(np.array_equal(arrays[key], kept[key]) for key in kept.files)
