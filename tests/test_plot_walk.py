"""``lronnx walk --plot``: what it writes, what it refuses before it walks, what is left when something goes wrong."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from strategies import Builder
from walks import SMALL_END, SMALL_START, StubNetwork, hand_path, hand_walk, save_small_model

import lronnx
from lronnx import cli, report, store
from lronnx.plot import segment
from lronnx.regions import PathWalk

SUFFIXES = ["png", "svg", "html"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(a) for a in arguments])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_small_model(tmp_path / "small.onnx")


@pytest.fixture
def points(tmp_path: Path) -> Path:
    np.savez(tmp_path / "p.npz", start=SMALL_START, end=SMALL_END)
    return tmp_path / "p.npz"


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking, and even loading, is a failure."""

    def load(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(lronnx, "load", load)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Callable[[PathWalk], None]:
    def install(path: PathWalk) -> None:
        network = StubNetwork(lambda *a, **k: path, outputs=path.outputs or 2)
        monkeypatch.setattr(lronnx, "load", lambda *a, **k: network)

    return install


def check_whole(picture: Path) -> str:
    """That a file is what its name says, and its text."""
    content = picture.read_bytes()
    if picture.suffix.lower() == ".png":
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert image.size[0] == 7 * 300
        return ""
    text = content.decode("utf-8")
    if picture.suffix == ".svg":
        root = ElementTree.fromstring(text)
        assert root.get("width") == f"{7 * 72}pt"
    else:
        assert text.startswith("<!doctype html>") or text.startswith("<!DOCTYPE html>")
        assert text.rstrip().endswith("</html>")
    return text


# --- What is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [*SUFFIXES, "PNG"])
def test_a_picture_beside_the_result(model: Path, points: Path, tmp_path: Path, suffix: str) -> None:
    picture = tmp_path / f"picture.{suffix}"
    regions = tmp_path / "r.parquet"
    drawn = run("walk", model, "--points", points, "--plot", picture, "-o", regions, "--json")
    assert drawn.exit_code == 0, drawn.stderr
    assert json.loads(drawn.stdout)["regions"] == 4
    assert drawn.stdout.count("\n") == 1
    assert regions.exists()
    check_whole(picture)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["p.npz", picture.name, "r.parquet", "small.onnx"]


def test_a_page_says_what_the_table_says(
    model: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "page.html"
    command = ["lronnx", "walk", str(model), "--points", str(points), "--closed", "--plot", str(picture)]
    monkeypatch.setattr(sys, "argv", command)
    assert run(*command[1:]).exit_code == 0
    text = check_whole(picture)
    network = lronnx.load(model)
    path = network.walk_path([SMALL_START, SMALL_END], closed=True)
    for name, figure, meaning in report.walk_figures(path):
        if name != "seconds":
            assert name in text
            assert str(figure) in text
            assert meaning.split(" 0")[0].split("->")[0] in text or name == "largest output"
    for row in [*report.segment_rows(path, 5), *report.node_rows(path.switches_by_node, path.switch_count, {}, 5)]:
        assert all(f">{cell}<" in text for cell in row if cell)
    for fact in (network.sha256, network.input_name, network.output_name, lronnx.__version__, "double precision"):
        assert fact in text
    assert " ".join(command) in text


def test_a_page_has_one_style_of_numbers_and_names_classes(
    stub: Callable[[PathWalk], None], model: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [[float(i), 3000.0 - 2 * i] for i in range(1235)]
    path = hand_path(hand_walk(values, nodes=("a",)), hand_walk(values[::-1], nodes=("a",)))
    stub(path)
    monkeypatch.setattr(segment, "class_labels", lambda *a: ("cat", "dog"))
    picture = tmp_path / "page.html"
    assert run("walk", model, "--points", points, "--plot", picture).exit_code == 0
    text = check_whole(picture)
    tables = "".join(re.findall("<td.*?</td>", text))
    for shown in (">2,468<", ">2,466<", "unit switches: 2,466", ">1,234<", ">2 changes<"):
        assert shown in tables
    assert not re.search(r"[>: ]\d{4}<", tables)
    stub(hand_path(hand_walk(values)))
    assert run("walk", model, "--points", points, "--plot", picture).exit_code == 0
    assert ">dog -&gt; cat<" in check_whole(picture)


def test_the_embedded_example(tmp_path: Path) -> None:
    picture = tmp_path / "digits.html"
    assert run("walk", "--plot", picture).exit_code == 0
    text = check_whole(picture)
    assert "digits.onnx: 517 regions, 315 linear, from class 3 to class 8" in text
    assert "from a handwritten 3 to a handwritten 8" in text


def test_a_path_that_was_not_walked_to_its_end(model: Path, points: Path, tmp_path: Path) -> None:
    picture = tmp_path / "page.html"
    result = run("walk", model, "--points", points, "--plot", picture, "--max-regions", 2)
    assert result.exit_code == 0
    assert re.search(r'<div class="prose warning"[^>]*><p>PARTIAL: stopped at .*0\.\d+', check_whole(picture))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_walk_that_was_stopped_at_once(
    stub: Callable[[PathWalk], None], model: Path, points: Path, tmp_path: Path, suffix: str
) -> None:
    stub(replace(hand_path(), partial=True))
    picture = tmp_path / f"picture.{suffix}"
    result = run("walk", model, "--points", points, "--plot", picture)
    assert result.exit_code == cli.INTERRUPTED
    text = check_whole(picture)
    assert suffix != "html" or "stopped before the first region was finished" in text


def test_a_failed_self_check_is_seen(
    stub: Callable[[PathWalk], None], model: Path, points: Path, tmp_path: Path
) -> None:
    stub(hand_path(hand_walk([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]], mismatches=2)))
    picture = tmp_path / "page.html"
    assert run("walk", model, "--points", points, "--plot", picture).exit_code == cli.SELF_CHECK_FAILED
    assert re.search(r'<div class="prose warning"[^>]*><p>SELF-CHECK FAILED', check_whole(picture))


def test_names_are_never_markup(tmp_path: Path) -> None:
    hostile = "<script>alert('1')</script>"
    b = Builder((2,))
    proto = b.model(b.relu(b.gemm(b.input, [[1, 0], [0, 1]], [0, 0.5])))
    for node in proto.graph.node:
        node.name = hostile + node.name
    entry = proto.metadata_props.add()
    entry.key, entry.value = segment.LABELS_KEY, json.dumps(["</script><b>", hostile])
    onnx.save(proto, tmp_path / "hostile.onnx")
    np.savez(tmp_path / "p.npz", start=SMALL_START, end=SMALL_END)
    for suffix in SUFFIXES:
        picture = tmp_path / f"picture.{suffix}"
        result = run("walk", tmp_path / "hostile.onnx", "--points", tmp_path / "p.npz", "--plot", picture)
        assert result.exit_code == 0, result.stderr
        text = check_whole(picture)
        assert "<script>alert" not in text
        assert "</script><b>" not in text


# --- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["picture", "picture.pdf", "picture.jpg", "png", ".png", "picture.png.gz"])
@pytest.mark.usefixtures("never")
def test_a_suffix_that_is_not_drawn(model: Path, points: Path, tmp_path: Path, name: str) -> None:
    result = run("walk", model, "--points", points, "--plot", tmp_path / name)
    assert result.exit_code == 2
    assert all(suffix in result.stderr for suffix in (".png", ".svg", ".html", name))
    assert not (tmp_path / name).exists()


@pytest.mark.usefixtures("never")
def test_where_nothing_can_be_written(model: Path, points: Path, tmp_path: Path) -> None:
    result = run("walk", model, "--points", points, "--plot", tmp_path / "no" / "picture.png")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    picture = tmp_path / "points.png"
    os.link(points, picture)
    result = run("walk", model, "--points", points, "--plot", picture)
    assert result.exit_code == 2
    assert "the file for --points itself" in result.stderr


@pytest.mark.usefixtures("never")
def test_the_regions_file_is_another_one(model: Path, points: Path, tmp_path: Path) -> None:
    result = run("walk", model, "--points", points, "--plot", tmp_path / "a.png", "-o", tmp_path / "." / "a.png")
    assert result.exit_code == 2
    assert "same file" in result.stderr
    (tmp_path / "a.png").write_bytes(b"")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    result = run("walk", model, "--points", points, "--plot", tmp_path / "a.png", "-o", tmp_path / "b.png")
    assert result.exit_code == 2
    assert "the regions file (-o) itself" in result.stderr


@pytest.mark.parametrize(("suffix", "module"), [("png", "matplotlib"), ("svg", "matplotlib"), ("html", "plotly")])
@pytest.mark.usefixtures("never")
def test_a_library_that_is_not_there(
    model: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, module: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else find(name, *a))
    result = run("walk", model, "--points", points, "--plot", tmp_path / f"a.{suffix}")
    assert result.exit_code == 2
    assert f"{module}, not installed here: pip install 'lronnx[plot]'" in result.stderr


# --- What is left when something goes wrong -----------------------------------------------------------------------


def test_the_result_outlives_a_picture_that_cannot_be_written(
    model: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_bytes", full)
    regions = tmp_path / "r.parquet"
    result = run("walk", model, "--points", points, "--plot", tmp_path / "a.svg", "-o", regions, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["regions"] == 4
    assert regions.exists()
    assert f"the picture {tmp_path / 'a.svg'} could not be written: No space left on device" in result.stderr


def test_the_result_outlives_a_picture_that_cannot_be_drawn(
    model: Path, points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise ArithmeticError("a mistake")

    monkeypatch.setattr(segment, "figure", broken)
    result = run("walk", model, "--points", points, "--plot", tmp_path / "a.svg", "--json")
    assert result.exit_code == cli.INTERNAL_ERROR
    assert json.loads(result.stdout)["regions"] == 4
    assert "a mistake" in result.stderr
    assert not (tmp_path / "a.svg").exists()


def test_nothing_is_imported_that_is_not_used() -> None:
    """Drawing libraries are slow to load, and may be missing where nothing is drawn."""
    code = (
        "import sys\nfrom lronnx import cli\nsys.argv[1:] = ['walk']\n"
        "try:\n    cli.main()\nfinally:\n    print(*{'matplotlib', 'plotly'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr.split() == []
