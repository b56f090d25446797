"""Reading ONNX files: what exporters get wrong is repaired, what cannot be read is refused; and writing programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracle import analyse
from strategies import Builder

import lronnx
from lronnx import onnx_io
from lronnx.graph import Graph, Node, Value

FLOAT = TensorProto.FLOAT
START, END = np.array([[-1.0, 0.5]]), np.array([[1.5, -0.75]])


def tensor(name: str, *shape: int | str, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: Sequence[onnx.NodeProto],
    initializers: dict[str, Any] | None = None,
    *,
    sources: Sequence[onnx.ValueInfoProto] = (),
    targets: Sequence[onnx.ValueInfoProto] = (),
    opset: int = 17,
    ir_version: int = 8,
    **options: Any,
) -> onnx.ModelProto:
    """A model from x (N, 2) to y (N, 2), unchecked."""
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in (initializers or {}).items()]
    sources, targets = sources or [tensor("x", "N", 2)], targets or [tensor("y", "N", 2)]
    graph = helper.make_graph(list(nodes), "network", list(sources), list(targets), held)
    opsets = [helper.make_opsetid("", opset), *options.pop("opsets", ())]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, **options)


def save(folder: Path, proto: onnx.ModelProto) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


WEIGHT = np.array([[1.0, -2.0], [0.5, 1.0]], np.float32)
BIAS = np.array([0.25, -0.5], np.float32)


def two_layers() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first"),
        helper.make_node("Relu", ["h"], ["r"], name="bend"),
        helper.make_node("Gemm", ["r", "w", "b"], ["y"], name="second"),
    ]
    return model(nodes, {"w": WEIGHT, "b": BIAS})


def walked(path: Path, **options: Any) -> lronnx.Walk:
    return lronnx.load(path, **options).walk(START, END, device="cpu")


def assert_same_walk(path: Path, expected: onnx.ModelProto, **options: Any) -> None:
    """The file's walk is the exact one of the model ``expected``."""
    walk, exact = walked(path, **options), analyse(expected, START.ravel(), END.ravel())
    assert walk.self_check.ok, walk.self_check
    np.testing.assert_allclose(walk.t, np.array(exact.t, float), rtol=0, atol=1e-9)
    np.testing.assert_allclose(walk.values, np.array(exact.values, float), rtol=0, atol=1e-9)


# --- what exporters write -------------------------------------------------------------------------------------------


def test_what_a_model_is(tmp_path: Path) -> None:
    proto = two_layers()
    proto.producer_name, proto.producer_version = "somebody", "1.2"
    helper.set_model_props(proto, {"mean": "0.5"})
    read = onnx_io.read_model(save(tmp_path, proto))
    assert read.producer == "somebody 1.2"
    assert read.metadata == {"mean": "0.5"}
    assert len(read.sha256) == 64
    assert read.graph.inputs == ("x",)
    assert read.graph.outputs == ("y",)
    assert read.graph.values["x"] == Value("x", "float32", (1, 2))
    assert [node.label for node in read.graph.nodes] == ["first", "bend", "second"]
    assert read.graph.opsets == {"ai.onnx": 17}
    assert_same_walk(tmp_path / "m.onnx", two_layers())


def test_unsorted_nodes(tmp_path: Path) -> None:
    proto = two_layers()
    nodes = list(reversed(proto.graph.node))
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    path = save(tmp_path, proto)
    assert [node.name for node in onnx_io.read_model(path).graph.nodes] == ["first", "bend", "second"]
    assert_same_walk(path, two_layers())


@pytest.mark.parametrize("ir_version", [3, 8])
def test_initializers_as_inputs(tmp_path: Path, ir_version: int) -> None:
    proto = two_layers()
    proto.ir_version = ir_version
    proto.graph.input.extend([tensor("w", 2, 2), tensor("b", 2), tensor("idle", 1)])
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "idle"))
    path = save(tmp_path, proto)
    assert lronnx.load(path).graph.inputs == ("x",)
    assert_same_walk(path, two_layers())


def test_unnamed_nodes_and_equal_names(tmp_path: Path) -> None:
    proto = two_layers()
    for node, name in zip(proto.graph.node, ["", "same", "same"], strict=True):
        node.name = name
    path = save(tmp_path, proto)
    assert [node.label for node in lronnx.load(path).graph.nodes] == ["Gemm:h", "Relu:r", "Gemm:y"]
    assert walked(path).switches_by_node.keys() == {"Relu:r"}


def test_a_name_that_looks_like_a_label(tmp_path: Path) -> None:
    proto = two_layers()
    for node, name in zip(proto.graph.node, ["Relu:r", "", ""], strict=True):
        node.name = name
    labels = [node.label for node in lronnx.load(save(tmp_path, proto)).graph.nodes]
    assert len(set(labels)) == 3
    assert labels[0] == "Relu:r"


def test_constant_nodes_of_every_form(tmp_path: Path) -> None:
    proto = two_layers()
    del proto.graph.initializer[:]
    constants = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)),
        helper.make_node("Constant", [], ["b"], value_floats=BIAS.tolist()),
    ]
    nodes = [*proto.graph.node, *constants]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert_same_walk(save(tmp_path, proto), two_layers())


def test_weights_that_the_graph_computes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["flipped"], ["turned"]),
        helper.make_node("Relu", ["turned"], ["positive"]),
        helper.make_node("Sub", ["positive", "negative"], ["w"]),
        *two_layers().graph.node,
    ]
    negative = np.maximum(-WEIGHT, 0)
    path = save(tmp_path, model(nodes, {"flipped": WEIGHT.T.copy(), "negative": negative, "b": BIAS}))
    network = lronnx.load(path)
    assert network.units == 2
    assert_same_walk(path, two_layers())


def test_local_functions(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17)]
    nodes = [helper.make_node("Gemm", ["a", "m", "c"], ["z"]), helper.make_node("Relu", ["z"], ["out"])]
    dense = helper.make_function("local", "Dense", ["a", "m", "c"], ["out"], nodes, opsets)
    calls = [
        helper.make_node("Dense", ["x", "w", "b"], ["r"], domain="local"),
        helper.make_node("Gemm", ["r", "w", "b"], ["y"]),
    ]
    proto = model(calls, {"w": WEIGHT, "b": BIAS}, opsets=[helper.make_opsetid("local", 1)], functions=[dense])
    assert_same_walk(save(tmp_path, proto), two_layers())


def test_extra_domains(tmp_path: Path) -> None:
    proto = two_layers()
    proto.opset_import.extend([helper.make_opsetid("ai.onnx.ml", 2), helper.make_opsetid("com.example", 1)])
    for node in proto.graph.node:
        node.domain = "ai.onnx"
    assert_same_walk(save(tmp_path, proto), two_layers())


def test_wrong_shapes_inside_are_not_believed(tmp_path: Path) -> None:
    proto = two_layers()
    proto.graph.value_info.append(tensor("h", "N", 7))
    network = lronnx.load(save(tmp_path, proto))
    assert network.graph.shape("h") == (1, 2)


def test_unused_initializers_do_not_matter(tmp_path: Path) -> None:
    proto = two_layers()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([np.nan], np.float32), "idle"))
    path = save(tmp_path, proto)
    assert "idle" not in lronnx.load(path).graph.constants
    assert_same_walk(path, two_layers())


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(tmp_path: Path, dtype: Any) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    proto = model(
        two_layers().graph.node,
        {"w": WEIGHT.astype(dtype), "b": BIAS.astype(dtype)},
        sources=[tensor("x", "N", 2, kind=kind)],
        targets=[tensor("y", "N", 2, kind=kind)],
    )
    assert_same_walk(save(tmp_path, proto), two_layers())


def test_float16_weights_that_are_cast(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["half"], ["w"], to=FLOAT),
        *two_layers().graph.node,
    ]
    assert_same_walk(save(tmp_path, model(nodes, {"half": WEIGHT.astype(np.float16), "b": BIAS})), two_layers())


def test_the_model_that_is_kept_stands_alone(tmp_path: Path) -> None:
    proto = two_layers()
    path = tmp_path / "m.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert (tmp_path / "m.data").is_file()
    assert_same_walk(path, two_layers())
    kept = onnx_io.read_model(path).bytes
    (tmp_path / "m.data").unlink()
    session = ort.InferenceSession(kept, providers=["CPUExecutionProvider"])
    expected = ort.InferenceSession(two_layers().SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": START.astype(np.float32)}
    np.testing.assert_array_equal(session.run(None, feeds)[0], expected.run(None, feeds)[0])


def test_a_model_to_be_read_elsewhere(tmp_path: Path) -> None:
    path, copy = tmp_path / "m.onnx", tmp_path / "elsewhere" / "m.onnx"
    copy.parent.mkdir()
    onnx.save(two_layers(), path)
    assert onnx_io.self_contained(path)[0] == path.read_bytes()
    assert onnx_io.read_model(path).weights_sha256 == ""
    onnx.save(two_layers(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert onnx_io.self_contained(path)[0] != path.read_bytes()
    content, *hashes = onnx_io.self_contained(path)
    model = onnx_io.read_model(path)
    assert hashes == [model.sha256, model.weights_sha256]
    copy.write_bytes(content)
    assert_same_walk(copy, two_layers())
    before, after = onnx_io.read_model(path).graph, onnx_io.read_model(copy).graph
    assert [node.label for node in before.nodes] == [node.label for node in after.nodes]


def test_weights_in_another_file_are_hashed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(two_layers(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    before = onnx_io.read_model(path)
    assert before.weights_sha256
    data = bytearray((tmp_path / "m.data").read_bytes())
    data[1] ^= 1
    (tmp_path / "m.data").write_bytes(data)
    after = onnx_io.read_model(path)
    assert after.sha256 == before.sha256
    assert after.weights_sha256 != before.weights_sha256


def test_external_data_in_a_folder_below(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    onnx.save(two_layers(), tmp_path / "m.onnx", save_as_external_data=True, location="weights/w", size_threshold=0)
    assert_same_walk(tmp_path / "m.onnx", two_layers())


@pytest.mark.parametrize("location", ["../w", "/etc/hostname", "", "gone"])
def test_external_data_elsewhere(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "w").write_bytes(WEIGHT.tobytes())
    proto = two_layers()
    weight = next(held for held in proto.graph.initializer if held.name == "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", location
    with pytest.raises(lronnx.ModelError, match="'w'"):
        onnx_io.read_model(save(folder, proto))


def test_external_data_that_is_too_short(tmp_path: Path) -> None:
    onnx.save(two_layers(), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "m.data").write_bytes(b"\0" * 4)
    with pytest.raises(lronnx.ModelError):
        onnx_io.read_model(tmp_path / "m.onnx")


# --- shapes ---------------------------------------------------------------------------------------------------------


def sums(*shape: int | str) -> onnx.ModelProto:
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Flatten", ["r"], ["y"])]
    return model(nodes, sources=[tensor("x", *shape)], targets=[tensor("y", "N", "M")])


def test_symbolic_dimensions(tmp_path: Path) -> None:
    path = save(tmp_path, sums("N", 3, "H", "W"))
    with pytest.raises(lronnx.InputError, match="H, W") as caught:
        lronnx.load(path)
    assert caught.value.open_input == Value("x", "float32", ("N", 3, "H", "W"))
    assert lronnx.load(path, shapes={"x": (1, 3, 4, 5)}).input_shape == (1, 3, 4, 5)
    assert lronnx.load(path, shapes={"x": (2, 3, 4, 5)}).outputs == 120


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ({"x": (1, 3, 4)}, "4 dimensions"),
        ({"x": (1, 2, 4, 5)}, "size 3 on axis 1"),
        ({"x": (1, 3, 0, 5)}, "at least 1"),
        ({"x": (1, 3, -1, 5)}, "at least 1"),
        ({"z": (1, 3, 4, 5)}, "no input named z"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path: Path, shape: dict[str, tuple[int, ...]], part: str) -> None:
    with pytest.raises(lronnx.InputError, match=part):
        lronnx.load(save(tmp_path, sums("N", 3, "H", "W")), shapes=shape)


def test_an_input_of_no_shape_at_all(tmp_path: Path) -> None:
    proto = sums("N", 2)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    path = save(tmp_path, proto)
    with pytest.raises(lronnx.InputError, match="declares no shape"):
        lronnx.load(path)
    assert lronnx.load(path, shapes={"x": (1, 2)}).input_shape == (1, 2)


def test_a_scalar_input(tmp_path: Path) -> None:
    proto = model(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Sub", ["r", "x"], ["y"])],
        sources=[tensor("x")],
        targets=[tensor("y")],
    )
    walk = lronnx.load(save(tmp_path, proto)).walk(-1.0, 3.0)
    np.testing.assert_allclose(walk.t, [0, 0.25, 1])
    np.testing.assert_allclose(walk.values, [[1], [0], [0]], atol=1e-12)


# --- what is no model -----------------------------------------------------------------------------------------------


def test_an_old_opset(tmp_path: Path) -> None:
    with pytest.raises(lronnx.ModelError, match="opset 6"):
        onnx_io.read_model(save(tmp_path, model([helper.make_node("Relu", ["x"], ["y"])], opset=6, ir_version=3)))


def test_a_cycle(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    nodes.append(helper.make_node("Identity", ["b"], ["y"]))
    with pytest.raises(lronnx.ModelError, match=r"cycle through #0 \[Add\] -> a, #1 \[Relu\] -> b"):
        onnx_io.read_model(save(tmp_path, model(nodes)))


def test_a_tensor_that_is_defined_twice(tmp_path: Path) -> None:
    twice = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    with pytest.raises(lronnx.ModelError, match="'y' is defined by two nodes"):
        onnx_io.read_model(save(tmp_path, model(twice)))
    over_weight = [helper.make_node("Neg", ["x"], ["w"]), helper.make_node("Relu", ["w"], ["y"])]
    with pytest.raises(lronnx.ModelError, match="'w'"):
        onnx_io.read_model(save(tmp_path, model(over_weight, {"w": WEIGHT})))
    proto = two_layers()
    proto.graph.initializer.append(proto.graph.initializer[0])
    with pytest.raises(lronnx.ModelError, match="two initializers are named 'w'"):
        onnx_io.read_model(save(tmp_path, proto))


def test_an_unknown_tensor(tmp_path: Path) -> None:
    nodes = [helper.make_node("Add", ["x", "nowhere"], ["y"], name="sum")]
    with pytest.raises(lronnx.ModelError, match=r"sum \[Add\] reads tensor 'nowhere'"):
        onnx_io.read_model(save(tmp_path, model(nodes)))
    with pytest.raises(lronnx.ModelError, match="'y'"):
        onnx_io.read_model(save(tmp_path, model([helper.make_node("Relu", ["x"], ["z"])])))


def test_damaged_weights(tmp_path: Path) -> None:
    proto = two_layers()
    proto.graph.initializer[0].raw_data = b"\0" * 3
    with pytest.raises(lronnx.ModelError, match="'w'"):
        onnx_io.read_model(save(tmp_path, proto))


def test_inputs_that_are_no_tensors(tmp_path: Path) -> None:
    proto = two_layers()
    proto.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", FLOAT, None))
    with pytest.raises(lronnx.ModelError, match="'x' is no tensor"):
        onnx_io.read_model(save(tmp_path, proto))


def test_sparse_weights(tmp_path: Path) -> None:
    proto = model([helper.make_node("MatMul", ["x", "w"], ["y"])])
    values = numpy_helper.from_array(np.ones(1, np.float32), "w")
    indices = numpy_helper.from_array(np.array([1]), "i")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2, 2]))
    with pytest.raises(lronnx.ModelError, match="'w'"):
        onnx_io.read_model(save(tmp_path, proto))


def test_captured_tensors_are_inputs(tmp_path: Path) -> None:
    # What a branch captures is found although no node lists it, and what it defines itself is not.
    inner = [helper.make_node("Relu", ["h"], ["own"]), helper.make_node("Neg", ["own"], ["z"])]
    branch = helper.make_graph(inner, "branch", [], [tensor("z", "N", 2)])
    other = helper.make_graph([helper.make_node("Abs", ["h"], ["z"])], "other", [], [tensor("z", "N", 2)])
    nodes = [
        helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=branch, else_branch=other),
        helper.make_node("Neg", ["x"], ["h"], name="before"),
    ]
    path = save(tmp_path, model(nodes, {"yes": np.array(True)}))
    read = onnx_io.read_model(path).graph
    assert [node.name for node in read.nodes] == ["before", "choice"]
    assert read.nodes[1].inputs == ("yes", "h")
    with pytest.raises(lronnx.NotPiecewiseAffineError, match="choice"):
        lronnx.load(path)


# --- writing --------------------------------------------------------------------------------------------------------


def test_scalars_stay_scalars() -> None:
    node = Node(0, "", "pick", "", "Gather", ("x", "i"), ("y",), {"axis": 1})
    values = {"x": Value("x", "float32", ("lanes", 3)), "y": Value("y", "float32", ("lanes",))}
    graph = Graph("g", ("x",), ("y",), (node,), {"i": np.array(1)}, values, {"ai.onnx": 17})
    written = onnx.load_model_from_string(onnx_io.to_bytes(graph, description="a test"))
    assert numpy_helper.to_array(written.graph.initializer[0]).shape == ()
    assert written.doc_string == "a test"
    session = ort.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.array([[1, 2, 3]], np.float32)})[0].tolist() == [2]


def test_attributes_survive_the_round_trip(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"], alpha=0.5, transB=1, name="gemm")]
    nodes.append(helper.make_node("Transpose", ["h"], ["y"], perm=[1, 0]))
    read = onnx_io.read_model(save(tmp_path, model(nodes, {"w": WEIGHT, "b": BIAS}, targets=[tensor("y", 2, "N")])))
    assert read.graph.nodes[0].attributes == {"alpha": 0.5, "transB": 1}
    assert read.graph.nodes[1].attributes == {"perm": (1, 0)}
    again = onnx.load_model_from_string(onnx_io.to_bytes(read.graph))
    written = {a.name: helper.get_attribute_value(a) for n in again.graph.node for a in n.attribute}
    assert written == {"alpha": 0.5, "transB": 1, "perm": [1, 0]}


def test_an_invalid_program_is_noticed() -> None:
    node = Node(0, "", "odd", "", "Frobnicate", ("x",), ("y",))
    values = {"x": Value("x", "float32", (1,)), "y": Value("y", "float32", (1,))}
    with pytest.raises(lronnx.ModelError, match="not valid ONNX"):
        onnx_io.to_bytes(Graph("g", ("x",), ("y",), (node,), {}, values, {"ai.onnx": 17}))


def test_exposed_tensors(tmp_path: Path) -> None:
    read = onnx_io.read_model(save(tmp_path, two_layers()))
    exposed = onnx.load_model_from_string(onnx_io.expose(read.bytes, ["r"]))
    assert [value.name for value in exposed.graph.output] == ["r"]
    assert len(exposed.graph.node) == 3
    pruned = onnx.load_model_from_string(onnx_io.expose(read.bytes, ["r"], prune=True))
    assert [node.name for node in pruned.graph.node] == ["first", "bend"]


def test_the_graph_as_networkx_sees_it(tmp_path: Path) -> None:
    b = Builder((2,))
    hidden = b.relu(b.gemm(b.input, [[1, 0], [0, 1]]))
    onnx.save(b.model(b.sum(hidden, b.input)), tmp_path / "m.onnx")
    graph = lronnx.load(tmp_path / "m.onnx").graph.to_networkx()
    order = list(nx.topological_sort(graph))
    assert order == ["input:x", "gemm_0", "relu_1", "add_2", "output:add_2"]
    assert set(graph.successors("input:x")) == {"gemm_0", "add_2"}
    assert graph.nodes["relu_1"]["shape"] == "1x2"
    nx.write_graphml(graph, tmp_path / "m.graphml")
    assert set(nx.read_graphml(tmp_path / "m.graphml").nodes) == set(order)
