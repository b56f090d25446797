"""The options of lronnx compare, and its folders: on tiny networks, of which it is known how they compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from strategies import Builder, Tensor
from walks import save_small_model

from lronnx import cli, comparison_report, matching, side_by_side
from lronnx.errors import InputError
from lronnx.network import Network
from lronnx.study import Crew, Settings, Study
from lronnx.walker import Stop

IDENTICAL, DIFFERENT = "identical regions", "different"
RNG = np.random.default_rng(0)
WEIGHTS, LAST = RNG.normal(size=(6, 12)), RNG.normal(size=(2, 6))
# For each number of an image whose channels are last, its place where they are first.
MOVED = np.moveaxis(np.arange(12).reshape(3, 2, 2), 0, -1).reshape(-1)


def command(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(one) for one in arguments])
    assert result.exit_code == code, result.stderr
    return result


def compare(*arguments: object, code: int = 0) -> Result:
    return command("compare", *arguments, "--workers", "1", code=code)


def told(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compare(*arguments, "--json").stdout)
    return found


def verdict(*arguments: object) -> str:
    [pair] = told(*arguments)["pairs"]
    return str(pair["verdict"])


def saved(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planar(b: Builder, factor: float = 1.0) -> Tensor:
    """Three units on a plane, whose input is divided by ``factor`` at first."""
    hidden = b.relu(b.gemm(b.input, np.array([[1, 0], [0, 1], [1, 1]]) / factor, [0, 0.5, -0.25]))
    return b.gemm(hidden, [[1, 1, 1], [1, -1, 0]])


def channels(path: Path, layout: str) -> Path:
    """The same function of an image: of three channels in front, or flattened, which come ``chw`` or ``hwc``."""
    b = Builder((3, 2, 2) if not layout else (12,))
    x = b.input if layout else b.add("Flatten", [b.input], (1, 12))
    weights = WEIGHTS[:, MOVED] if layout == "hwc" else WEIGHTS
    return saved(path, b.model(b.gemm(b.relu(b.gemm(x, weights)), LAST)))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return channels(tmp_path / "image.onnx", "")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    return channels(tmp_path / "flat.onnx", "hwc")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Points of a path."""
    np.save(tmp_path / "images.npy", np.random.default_rng(1).normal(size=(3, 1, 3, 2, 2)))
    return tmp_path / "images.npy"


@pytest.fixture
def points(tmp_path: Path) -> Path:
    """Points of a path in the plane."""
    np.save(tmp_path / "points.npy", np.array([[-1.0, -1.0], [0.25, 0.5], [1.0, -0.75]]))
    return tmp_path / "points.npy"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "small.onnx")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another function, of the same regions."""
    b = Builder((2,))
    return saved(tmp_path / "other.onnx", b.model(b.gemm(planar(b), [[1, 0.5], [0, 1]])))


def planned(models: Sequence[Path], points: Path) -> side_by_side.Plan:
    def made(network: Network) -> Study:
        array = np.load(points).reshape(-1, *network.input_shape)
        return side_by_side.on_points(array, False, Settings(), {"command": "none"}, network)

    return side_by_side.plan(matching.load_models(list(models), threads=1), made)


# --- how inputs and outputs are matched -------------------------------------------------------------------------------


def test_layout_decides(image: Path, flat: Path, images: Path) -> None:
    arguments = (image, flat, "--points", images)
    assert verdict(*arguments, "--layout", "2=hwc") == IDENTICAL
    assert verdict(*arguments, "--layout", "2=chw") == DIFFERENT
    assert verdict(*arguments, "--layout", f"{flat}=chw", "--layout", "1=chw") == DIFFERENT
    # That of the first is asked for by the images.
    data = images.parent / "data.npy"
    np.save(data, np.random.default_rng(2).integers(0, 255, (2, 2, 2, 3), np.uint8))
    around = (flat, image, "--data", data, "--radius", 1, "--anchors", 3, "--scale", "1/255")
    assert "--layout" in compare(*around, code=2).stderr
    assert verdict(*around, "--layout", "1=hwc") == IDENTICAL
    assert verdict(*around, "--layout", "1=chw") == DIFFERENT


def test_outputs_decide_where_shapes_do_not(image: Path, flat: Path, images: Path) -> None:
    result = told(image, flat, "--points", images)
    assert result["pairs"][0]["verdict"] == IDENTICAL
    assert any("decided by the outputs, at 3 points" in text for text in result["models"][1]["matched"])


def test_another_match_is_another_comparison(image: Path, flat: Path, images: Path, tmp_path: Path) -> None:
    arguments = (image, flat, "--points", images, "-o", tmp_path / "out")
    compare(*arguments, "--layout", "2=chw")
    before = content(tmp_path / "out")
    assert "belongs to another study" in compare(*arguments, "--layout", "2=hwc", code=2).stderr
    assert content(tmp_path / "out") == before
    compare(*arguments, "--layout", "2=chw")


def test_map_and_output_choose(small: Path, other: Path, points: Path) -> None:
    """The other network has the first one's function inside."""
    arguments = (small, other, "--points", points)
    inside = "gemm_2"
    assert verdict(*arguments) == DIFFERENT
    for options in (
        ("--map", f"{inside}=2:{inside}"),
        ("--map", f"{inside}={inside}"),
        ("--map", f"{inside}={other}:{inside}"),
        ("--output", f"2={inside}"),
        ("--output", f"{other}={inside}"),
    ):
        result = told(*arguments, *options)
        assert (result["pairs"][0]["verdict"], result["models"][1]["output"]) == (IDENTICAL, inside)
    assert "no tensor of that name" in compare(*arguments, "--map", f"{inside}=2:nothing", code=2).stderr


def two_inputs(path: Path) -> Path:
    """The small network, but for a bias that is its second input."""
    b = Builder((2,))
    hidden = b.relu(b.gemm(b.input, [[1, 0], [0, 1], [1, 1]], [0, 0.5, -0.25]))
    model = b.model(b.sum(b.gemm(hidden, [[1, 1, 1], [1, -1, 0]]), b.constant([[0, 0]])))
    bias = model.graph.initializer.pop()
    model.graph.input.append(helper.make_tensor_value_info(bias.name, TensorProto.FLOAT, [1, 2]))
    return saved(path, model)


def test_other_networks_keep_their_fixed_inputs(small: Path, points: Path, tmp_path: Path) -> None:
    second = two_inputs(tmp_path / "second.onnx")
    name = onnx.load(second).graph.input[1].name
    for bias, expected in ((0.0, IDENTICAL), (0.5, DIFFERENT)):
        np.save(tmp_path / "bias.npy", np.full((1, 2), bias, np.float32))
        result = told(small, second, "--points", points, "--input", f"{name}={tmp_path / 'bias.npy'}")
        assert result["pairs"][0]["verdict"] == expected
        assert result["pairs"][0]["largest_difference"] == pytest.approx(bias)


def test_other_networks_keep_their_shapes(small: Path, points: Path, tmp_path: Path) -> None:
    model = onnx.load(small)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    opened = saved(tmp_path / "opened.onnx", model)
    assert verdict(small, opened, "--points", points) == IDENTICAL
    assert verdict(opened, small, "--points", points, "--shape", "x=1x2") == IDENTICAL


# --- pixels -----------------------------------------------------------------------------------------------------------


def whole(path: Path, **metadata: str) -> Path:
    """The small network for an input that is 4 times as large."""
    b = Builder((2,))
    model = b.model(planar(b, 4.0))
    helper.set_model_props(model, metadata)
    return saved(path, model)


def test_options_of_both_models_map_points_of_any_kind(small: Path, points: Path, tmp_path: Path) -> None:
    """Points are floats, and the second network takes four times the first one's, less 1 and 2."""
    b = Builder((2,))
    shifted = b.sum(b.add("Mul", [b.input, b.constant([[0.25, 0.25]])], (1, 2)), b.constant([[0.25, 0.25]]))
    hidden = b.relu(b.gemm(shifted, [[1, 0], [0, 1], [1, 1]], [0, 0.5, -0.25]))
    model = b.model(b.gemm(hidden, [[1, 1, 1], [1, -1, 0]]))
    second = saved(tmp_path / "second.onnx", model)
    arguments = ("--points", points)
    asked = told(small, second, *arguments, "--scale", "1=1/4", "--scale", "2=1", "--mean", "2=1", "--mean", "1=0")
    assert asked["pairs"][0]["verdict"] == IDENTICAL
    assert verdict(small, second, *arguments) == DIFFERENT
    # The models may say it themselves.
    helper.set_model_props(model, {"lronnx.scale": "1", "lronnx.mean": "1"})
    saved(second, model)
    first = onnx.load(small)
    helper.set_model_props(first, {"lronnx.scale": "1/4"})
    saved(small, first)
    found = told(small, second, *arguments)
    assert found["pairs"] == asked["pairs"]
    assert found["models"][1]["matched"] == asked["models"][1]["matched"]
    # Or one of them.
    assert told(save_small_model(small), second, *arguments, "--scale", "1=1/4")["pairs"] == asked["pairs"]


@pytest.mark.parametrize(
    ("options", "lacking"),
    [
        (("--scale", "2=1"), 1),
        (("--std", "2=4"), 2),
        (("--scale", "1=1/4", "--mean", "2=1"), 2),
        (("--mean", "1"), 2),
    ],
)
def test_pixels_of_the_other_alone_are_of_no_use(
    options: Sequence[str], lacking: int, small: Path, points: Path, tmp_path: Path
) -> None:
    error = compare(small, whole(tmp_path / "whole.onnx"), "--points", points, *options, code=2).stderr
    assert "--scale, --mean and --std of model 2 say how" in error
    assert f"give --scale {lacking}=NUMBER, too" in error


def test_pixels_of_the_first_alone_are_of_use_for_pixels(small: Path, points: Path, tmp_path: Path) -> None:
    second = save_small_model(tmp_path / "second.onnx")
    told_of = compare(small, second, "--points", points, "--scale", "1=1/4", code=2).stderr
    assert "no file given holds pixels" in told_of
    np.save(points, np.array([[0, 3], [9, 200]], np.uint8))
    assert verdict(small, second, "--points", points, "--scale", "1=1/4") == IDENTICAL


# --- what is told -----------------------------------------------------------------------------------------------------


def test_what_was_cut_off_one_network_is_told(small: Path, points: Path, tmp_path: Path) -> None:
    b = Builder((2,))
    x = planar(b)
    soft = saved(tmp_path / "soft.onnx", b.model(b.add("Softmax", [x], x.shape, axis=1)))
    for models, of in (((small, soft), "soft.onnx"), ((soft, small), "soft.onnx")):
        sentence = f"Not compared, since cut off: Softmax at the output of {of}."
        result = told(*models, "--points", points)
        text = comparison_report.verdict_text(result, result["pairs"][0])
        assert text.endswith(f" Their activation regions correspond one to one. {sentence}")
        assert sentence in " ".join(compare(*models, "--points", points).stdout.split())
    assert "cut off:" not in compare(soft, soft, "--points", points).stdout
    assert "cut off:" not in compare(small, small, "--points", points).stdout


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("manifest.json", "is a run folder of lronnx analyze: name another folder"),
        ("notes.txt", "is not empty and holds no comparison: name another folder, or a new one"),
        ("models/1-small.onnx/manifest.json", "is not empty and holds no comparison"),
    ],
)
def test_folders_of_something_else_are_not_touched(
    file: str, message: str, small: Path, other: Path, points: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text("{}")
    names = set(folder.rglob("*"))
    with pytest.raises(InputError, match=message):
        planned([small, other], points).run(str(folder), Crew(1))
    assert message in compare(small, other, "--points", points, "-o", folder, code=2).stderr
    assert set(folder.rglob("*")) == names
    assert (folder / file).read_text() == "{}"


def test_a_run_of_analyze_is_not_touched_by_a_comparison_that_is_in_it(
    small: Path, other: Path, points: Path, tmp_path: Path
) -> None:
    """Whatever else it holds."""
    planned([small, other], points).run(str(tmp_path / "out"), Crew(1))
    (tmp_path / "out" / "manifest.json").write_text("{}")
    before = content(tmp_path / "out")
    with pytest.raises(InputError, match="is a run folder of lronnx analyze"):
        planned([small, other], points).run(str(tmp_path / "out"), Crew(1))
    assert content(tmp_path / "out") == before


@pytest.fixture
def kept(small: Path, other: Path, points: Path, tmp_path: Path) -> Path:
    """The folder of a comparison."""
    compare(small, other, "--points", points, "-o", tmp_path / "out")
    return tmp_path / "out"


def test_a_model_may_have_another_name_when_a_comparison_goes_on(
    kept: Path, small: Path, other: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((kept / "comparison.json").read_text())
    (kept / "compare.html").unlink()
    renamed = other.rename(tmp_path / "renamed.onnx")

    def walk(*arguments: Any) -> Any:
        raise AssertionError("a path was walked again")

    monkeypatch.setattr(side_by_side.Comparing, "walk", walk)
    found = compare(small, renamed, "--points", points, "-o", kept).stderr
    assert "(1 were there already)" in found
    assert sorted(path.name for path in (kept / "models").iterdir()) == ["1-small.onnx", "2-other.onnx"]
    assert json.loads((kept / "comparison.json").read_text())["pairs"] == before["pairs"]
    assert b"renamed.onnx" in (kept / "compare.html").read_bytes()
    assert side_by_side.run_folders(str(kept)) == [f"{kept}/models/{name}" for name in ("1-small.onnx", "2-other.onnx")]
    command("report", *side_by_side.run_folders(str(kept)), "-o", tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 10**4


def flipped(content: bytes, at: slice) -> bytes:
    """With these bytes inverted."""
    damaged = bytearray(content)
    damaged[at] = bytes(255 - byte for byte in damaged[at])
    return bytes(damaged)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "body": lambda content: flipped(content, slice(4, 60)),
    "footer": lambda content: flipped(content, slice(-1000, -8)),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_a_damaged_file_of_differences_is_replaced(
    kind: str, kept: Path, small: Path, other: Path, points: Path
) -> None:
    file = kept / "differences" / "2.parquet"
    before = file.read_bytes()
    file.write_bytes(DAMAGE[kind](before))
    _, result = planned([small, other], points).run(str(kept), Crew(1))
    assert result is not None
    assert side_by_side.kept_differences(str(kept), result)[2].num_rows > 4
    assert file.read_bytes() == before


def test_a_file_of_differences_of_another_comparison_is_replaced(
    kept: Path, small: Path, other: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = kept / "differences" / "2.parquet"
    before = file.read_bytes()
    # Of one that differs most at the same place, by as much, and elsewhere by something else.
    b = Builder((2,))
    hidden = b.relu(b.gemm(b.input, [[1, 0], [0, 1], [1, 1]], [0, 0.5, -0.25]))
    third = saved(tmp_path / "third.onnx", b.model(b.gemm(hidden, [[1.5, 0.625, 1], [1, -1, 0]])))
    results = [
        planned([small, one], points).run(str(folder), Crew(1))[1]
        for one, folder in ((other, kept), (third, tmp_path / "third"))
    ]
    first, second = (found["pairs"][0] for found in results if found is not None)
    assert first["largest_at"] == second["largest_at"]
    assert first["mean_difference"] != second["mean_difference"]
    file.write_bytes((tmp_path / "third" / "differences" / "2.parquet").read_bytes())
    planned([small, other], points).run(str(kept), Crew(1))
    assert file.read_bytes() == before
    # What is right is not made again.
    monkeypatch.setattr(side_by_side.ComparisonJob, "begin", None)
    planned([small, other], points).run(str(kept), Crew(1))
    assert file.read_bytes() == before


def test_a_report_of_a_comparison_says_where_its_runs_are(kept: Path, tmp_path: Path) -> None:
    error = command("report", kept, "-o", tmp_path / "report.html", code=2).stderr
    assert f"{kept} is a comparison of networks, each of which has a run folder in {kept}/models" in error
    assert not (tmp_path / "report.html").exists()


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def test_what_is_kept_when_it_is_interrupted(
    small: Path, other: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, result = planned([small, other], points).run(None, Crew(1), stop=lambda: Stop.SOON)
    assert (ended.interrupted, ended.done, result) == (True, 0, None)
    arguments = (small, other, "--points", points)
    monkeypatch.setattr(cli._Interrupts, "__call__", lambda self: Stop.SOON)
    alone = compare(*arguments, code=cli.INTERRUPTED)
    assert "Nothing is summed up unless all paths are done, and nothing was kept: -o DIR would keep it." in alone.stderr
    assert "goes on" not in alone.stderr
    assert alone.stdout == ""
    into = compare(*arguments, "-o", tmp_path / "out", code=cli.INTERRUPTED)
    assert "The same command goes on from here." in into.stderr
    assert "nothing was kept" not in into.stderr

    def at_once(*arguments: object, **options: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side.Plan, "run", at_once)
    assert "Stopped at once; nothing was kept (-o)." in compare(*arguments, code=cli.INTERRUPTED).stderr
    into = compare(*arguments, "-o", tmp_path / "out", code=cli.INTERRUPTED)
    assert "Stopped at once; what was finished is safe. The same command goes on from here." in into.stderr
