"""Everything that users may get wrong: each has an exit code and a message, and leaves no file behind."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from strategies import Builder
from walks import SMALL_END, SMALL_START, save_small_model

import lronnx
from lronnx import cli


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "small.onnx")


@pytest.fixture
def points(tmp_path: Path) -> Path:
    np.savez(tmp_path / "p.npz", start=SMALL_START, end=SMALL_END)
    return tmp_path / "p.npz"


def refused(tmp_path: Path, *arguments: object, code: int | set[int], parts: tuple[str, ...] = ()) -> None:
    """Assert that ``lronnx walk`` with these arguments exits with ``code``, says all ``parts``, and writes nothing."""
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for extra in ([], ["--json"]):
        result = walk(*arguments, "-o", tmp_path / "r.parquet", *extra)
        assert result.exit_code in ({code} if isinstance(code, int) else code), result.stderr
        for part in parts:
            assert part in result.stderr
        assert "Error: " in result.stderr
        assert "Traceback" not in result.stderr
        assert "internal error" not in result.stderr
        assert result.stdout == ""
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def walk(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["walk", *(str(a) for a in arguments)])


def tensor(name: str, *shape: int | str, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def proto(
    nodes: list[onnx.NodeProto],
    initializers: dict[str, Any] | None = None,
    sources: list[onnx.ValueInfoProto] | None = None,
    targets: list[onnx.ValueInfoProto] | None = None,
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    """A model from x (N, 2) to y, unchecked."""
    graph = helper.make_graph(
        nodes,
        "bad",
        sources or [tensor("x", "N", 2)],
        targets or [tensor("y", "N", 2)],
        [numpy_helper.from_array(np.asarray(a, dtype=np.float32), name) for name, a in (initializers or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def save(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


# --- files that are no models ---------------------------------------------------------------------------------


def truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def truncated_by_one(whole: bytes) -> bytes:
    return whole[:-1]


def random_bytes(whole: bytes) -> bytes:
    return np.random.default_rng(0).bytes(1000)


def text(whole: bytes) -> bytes:
    return b"This is not a model.\n"


def empty(whole: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [truncated, truncated_by_one, random_bytes, text, empty])
def test_no_model(tmp_path: Path, model: Path, points: Path, damage: Callable[[bytes], bytes]) -> None:
    model.write_bytes(damage(model.read_bytes()))
    refused(tmp_path, model, "--points", points, code=4, parts=("small.onnx",))
    assert CliRunner().invoke(cli.main, ["inspect", str(model)]).exit_code == 4


def test_a_missing_file_and_a_folder(tmp_path: Path, points: Path) -> None:
    refused(tmp_path, tmp_path / "gone.onnx", "--points", points, code=2, parts=("gone.onnx", "does not exist"))
    refused(tmp_path, tmp_path, "--points", points, code=2, parts=("directory",))


# --- broken graphs --------------------------------------------------------------------------------------------


def cycle() -> onnx.ModelProto:
    return proto(
        [
            helper.make_node("Add", ["x", "b"], ["a"], name="first"),
            helper.make_node("Relu", ["a"], ["b"], name="second"),
            helper.make_node("Relu", ["b"], ["y"], name="third"),
        ]
    )


def unknown_tensor() -> onnx.ModelProto:
    return proto([helper.make_node("Add", ["x", "nowhere"], ["y"])])


def unknown_output() -> onnx.ModelProto:
    return proto([helper.make_node("Relu", ["x"], ["z"])])


def defined_twice() -> onnx.ModelProto:
    return proto([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y"])])


def wrong_shapes() -> onnx.ModelProto:
    return proto([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.ones((3, 2))})


def nothing() -> onnx.ModelProto:
    return proto([])


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (cycle, "cycle"),
        (unknown_tensor, "nowhere"),
        (unknown_output, "y"),
        (defined_twice, "y"),
        (wrong_shapes, ""),
        (nothing, "y"),
    ],
)
def test_broken_graphs(tmp_path: Path, points: Path, build: Callable[[], onnx.ModelProto], part: str) -> None:
    refused(tmp_path, save(tmp_path / "m.onnx", build()), "--points", points, code=4, parts=(part,))


@pytest.mark.parametrize("domain", ["", "com.example"])
def test_unknown_operators_and_domains(tmp_path: Path, points: Path, domain: str) -> None:
    node = helper.make_node("Frobnicate", ["x"], ["y"], name="odd", domain=domain)
    path = save(tmp_path / "m.onnx", proto([node], domains=(domain,) if domain else ()))
    refused(tmp_path, path, "--points", points, code={3, 4}, parts=("Frobnicate", "odd"))


def test_control_flow(tmp_path: Path, points: Path) -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "branch", [], [tensor("z", "N", 2)])
    other = helper.make_graph([helper.make_node("Abs", ["x"], ["z"])], "other", [], [tensor("z", "N", 2)])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["condition"]),
        helper.make_node("If", ["condition"], ["y"], name="choice", then_branch=branch, else_branch=other),
    ]
    path = save(tmp_path / "m.onnx", proto(nodes, {"zero": 0.0}))
    refused(tmp_path, path, "--points", points, code=3, parts=("choice [If]",))


def test_loops(tmp_path: Path, points: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Relu", ["v"], ["v_out"]), helper.make_node("Identity", ["go"], ["go_out"])],
        "body",
        [tensor("i", kind=TensorProto.INT64), tensor("go", kind=TensorProto.BOOL), tensor("v", "N", 2)],
        [tensor("go_out", kind=TensorProto.BOOL), tensor("v_out", "N", 2)],
    )
    model = proto([helper.make_node("Loop", ["count", "", "x"], ["y"], name="around", body=body)])
    model.graph.initializer.append(numpy_helper.from_array(np.array(3), "count"))
    refused(tmp_path, save(tmp_path / "m.onnx", model), "--points", points, code=3, parts=("around [Loop]",))


def test_all_refused_nodes_are_named_at_once(tmp_path: Path, points: Path) -> None:
    b = Builder((2,))
    smooth = b.add("Sigmoid", [b.input], (1, 2))
    product = b.add("Mul", [smooth, b.input], (1, 2))
    step = b.add("Floor", [b.relu(product)], (1, 2))
    path = save(tmp_path / "m.onnx", b.model(b.gemm(step, np.eye(2))))
    refused(tmp_path, path, "--points", points, code=3, parts=("sigmoid_0 [Sigmoid]", "floor_3 [Floor]"))


def test_a_shape_that_nobody_says(tmp_path: Path, points: Path) -> None:
    source = onnx.ValueInfoProto()
    source.name = "x"
    source.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Relu", ["f"], ["y"])]
    path = save(tmp_path / "m.onnx", proto(nodes, sources=[source]))
    result = walk(path, "--points", points, "--shape", "x=1x2", "--json")
    assert result.exit_code == 0, result.stderr
    refused(tmp_path, path, "--points", points, code=2, parts=("'x'", "--shape"))


def test_a_shape_that_does_not_fit(tmp_path: Path, model: Path, points: Path) -> None:
    refused(tmp_path, model, "--points", points, "--shape", "x=1x2x3", code=2, parts=("'x'",))
    refused(tmp_path, model, "--points", points, "--shape", "unknown=1x2", code=2, parts=("unknown",))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path: Path, points: Path, bad: float) -> None:
    weights = np.ones((2, 2))
    weights[1, 0] = bad
    nodes = [helper.make_node("MatMul", ["x", "heavy"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    path = save(tmp_path / "m.onnx", proto(nodes, {"heavy": weights}))
    refused(tmp_path, path, "--points", points, code=4, parts=("heavy",))


# --- external data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("location", ["../secret.bin", "ABSOLUTE", "sub/../../secret.bin", "link.bin"])
def test_external_data_outside_the_folder(tmp_path: Path, points: Path, location: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.eye(2, dtype=np.float32).tobytes())
    (folder / "link.bin").symlink_to(secret)
    model = proto([helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])])
    weight = model.graph.initializer.add()
    weight.name, weight.data_type = "w", TensorProto.FLOAT
    weight.dims.extend([2, 2])
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", str(secret) if location == "ABSOLUTE" else location
    refused(tmp_path, save(folder / "m.onnx", model), "--points", points, code=4, parts=("w",))


def test_external_data_that_is_missing(tmp_path: Path, points: Path) -> None:
    model = proto([helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": np.eye(2)})
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert walk(tmp_path / "m.onnx", "--points", points).exit_code == 0
    (tmp_path / "m.data").unlink()
    refused(tmp_path, tmp_path / "m.onnx", "--points", points, code=4, parts=("m.data",))


# --- points ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        (np.array([np.nan, 0.0]), ("nan", "(0,)")),
        (np.array([0.0, np.inf]), ("inf", "(1,)")),
        (np.array([1, 2]), ("int64", "floating-point")),
        (np.array([True, False]), ("bool", "floating-point")),
        (np.array([1.0, 2.0, 3.0]), ("(3,)", "(1, 2)")),
        (np.ones((5, 2)), ("(5, 2)", "(1, 2)", "5 samples")),
        (SMALL_END, ("segment 0", "no direction")),
    ],
)
def test_points_that_do_not_fit(
    tmp_path: Path, model: Path, points: Path, start: np.ndarray[Any, Any], parts: tuple[str, ...]
) -> None:
    np.save(tmp_path / "a.npy", start)
    refused(tmp_path, model, "--start", tmp_path / "a.npy", "--end", points, code=2, parts=parts)


def test_an_archive_without_the_key(tmp_path: Path, model: Path) -> None:
    np.savez(tmp_path / "p.npz", first=SMALL_START, last=SMALL_END)
    refused(tmp_path, model, "--points", tmp_path / "p.npz", code=2, parts=("'points'", "'first', 'last'"))
    refused(tmp_path, model, "--points", tmp_path / "p.npz:nope", code=2, parts=("'nope'",))


def test_a_pickle(tmp_path: Path, model: Path, points: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    refused(tmp_path, model, "--start", tmp_path / "a.npy", "--end", points, code=2, parts=("never loads",))
    (tmp_path / "b.npy").write_bytes(pickle.dumps([1.0, 2.0]))
    refused(tmp_path, model, "--start", tmp_path / "b.npy", "--end", points, code=2, parts=("never loads",))


def test_one_point_is_no_path(tmp_path: Path, model: Path) -> None:
    np.save(tmp_path / "p.npy", [SMALL_START])
    refused(tmp_path, model, "--points", tmp_path / "p.npy", code=2, parts=("at least two",))


def test_a_network_of_integers(tmp_path: Path, points: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT), helper.make_node("Relu", ["f"], ["y"])]
    path = save(tmp_path / "m.onnx", proto(nodes, sources=[tensor("x", "N", 2, kind=TensorProto.INT64)]))
    refused(tmp_path, path, "--points", points, code={2, 3}, parts=("x", "int64"))


# --- several inputs and outputs -------------------------------------------------------------------------------


@pytest.fixture
def two_inputs(tmp_path: Path) -> Path:
    nodes = [helper.make_node("Add", ["x", "shift"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    sources = [tensor("x", "N", 2), tensor("shift", 1, 2)]
    return save(tmp_path / "m.onnx", proto(nodes, sources=sources))


def test_several_inputs(tmp_path: Path, points: Path, two_inputs: Path) -> None:
    refused(tmp_path, two_inputs, "--points", points, code=2, parts=("x, shift", "--input"))
    np.save(tmp_path / "s.npy", np.array([[0.5, -0.5]], dtype=np.float32))
    result = walk(two_inputs, "--points", points, "--input", f"shift={tmp_path / 's.npy'}", "--json")
    assert result.exit_code == 0, result.stderr
    assert '"regions": 3' in result.stdout


def test_other_inputs_that_do_not_fit(tmp_path: Path, points: Path, two_inputs: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros((1, 3), dtype=np.float32))
    option = f"={tmp_path / 's.npy'}"
    refused(tmp_path, two_inputs, "--points", points, "--input", "shift" + option, code=2, parts=("shift", "3"))
    refused(tmp_path, two_inputs, "--points", points, "--input", "nope" + option, code=2, parts=("nope",))
    refused(tmp_path, two_inputs, "--points", points, "--input", "shift=gone.npy", code=2, parts=("gone.npy",))


def test_several_outputs(tmp_path: Path, points: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["other"])]
    path = save(tmp_path / "m.onnx", proto(nodes, targets=[tensor("y", "N", 2), tensor("other", "N", 2)]))
    result = walk(path, "--points", points)
    assert result.exit_code == 0
    assert "output 'y'" in result.stdout
    assert "other" in result.stderr
    result = walk(path, "--points", points, "--output", "other")
    assert result.exit_code == 0
    assert "output 'other'" in result.stdout
    refused(tmp_path, path, "--points", points, "--output", "nope", code=2, parts=("nope", "y, other"))


# --- output ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["walk", "linearize"])
def test_the_output_is_checked_before_the_work(
    tmp_path: Path, model: Path, points: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def load(*arguments: Any, **options: Any) -> None:
        pytest.fail("the model was loaded although the output cannot be written")

    monkeypatch.setattr(lronnx, "load", load)
    for target, part in [
        (tmp_path / "gone" / "out", "does not exist"),
        (tmp_path, "is a folder"),
        (model / "out", "not a folder"),
        (model, "the model itself"),
    ]:
        arguments = [command, str(model), "-o", str(target), *(["--points", str(points)] if command == "walk" else [])]
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 2
        assert part in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"small.onnx", "p.npz"}
