"""What the README shows is what happens: its transcript, its Python, and the commands it names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "lronnx" / "example" / "digits.onnx"


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_transcript() -> None:
    (shown,) = snippets("text")
    printed = run(sys.executable, "-m", "lronnx", "walk", "--device", "cpu", cwd=ROOT)

    def lines(text: str) -> list[str]:
        # Seconds are as they are, passes depend on the number of cores, and the last digits of errors on the processor.
        text = re.sub(r"seconds +\S+ +\d+ forward", "seconds forward", text)
        return re.sub(r"within \S+ of", "within of", text).rstrip().splitlines()

    assert lines(printed) == lines(shown)


@pytest.mark.parametrize("number", range(5))
def test_python(tmp_path: Path, number: int) -> None:
    found = snippets("python")
    assert len(found) == 5
    shutil.copy(EXAMPLE, tmp_path / "model.onnx")
    shutil.copy(EXAMPLE, tmp_path / "other.onnx")
    shutil.copy(EXAMPLE.with_name("digits_data.npz"), tmp_path / "images.npz")
    if "program.onnx" in found[number]:
        run(sys.executable, "-m", "lronnx", "linearize", "model.onnx", "-o", "program.onnx", cwd=tmp_path)
    if "RUN" in found[number]:
        short = ("--samples", "2", "--radius", "1", "--anchors", "4")
        run(sys.executable, "-m", "lronnx", "analyze", "-o", "RUN", *short, "--workers", "1", cwd=tmp_path)
    (tmp_path / "snippet.py").write_text(found[number], encoding="utf-8")
    assert run(sys.executable, "snippet.py", cwd=tmp_path)


def test_the_picture_at_the_top_is_what_its_command_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (options,) = re.findall(r"\n    lronnx (walk .*cat_to_dog\.png)\n", README)
    (told,) = re.findall(r"for each of the ([\d,]+) places", README)
    for name in ("vgg8_cifar10.onnx", "cat.png", "dog.png"):
        shutil.copy(ROOT / "models" / "trained" / name, tmp_path)
    printed = run(sys.executable, "-m", "lronnx", *options.split(), "--precision", "double", cwd=tmp_path)
    assert int(told.replace(",", "")) == int(re.findall(r"breakpoints +(\d+)", printed)[0])
    drawn, shown = (path / "cat_to_dog.png" for path in (tmp_path, ROOT / "models" / "figures"))
    assert drawn.read_bytes()[:24] == shown.read_bytes()[:24], "PNG, of the same width and height"


def test_the_comparison_of_frameworks() -> None:
    """Of the same weights from PyTorch and from Keras: what the command prints, but for the last digits of rounding."""
    ((options, shown),) = re.findall(r"\n    lronnx (compare cnn_.*)\n\n((?:(?:    .*)?\n)+)", README)
    folder = ROOT / "tests" / "interoperability"
    printed = run(sys.executable, "-m", "lronnx", *options.split(), "--device", "cpu", cwd=folder)

    def lines(text: str) -> list[str]:
        # Of differences by rounding not even the place is the same everywhere.
        text = re.sub(r"(largest difference|where|rounding explains|mean difference|moved by) .*", r"\1", text)
        return [line.strip() for line in text.strip().splitlines()]

    assert lines(printed) == lines(shown)


def test_the_script_for_the_linearized_program_has_ten_lines() -> None:
    (script,) = (snippet for snippet in snippets("python") if "program.onnx" in snippet)
    assert len([line for line in script.splitlines() if line.strip()]) <= 10
    assert "lronnx" not in script


def test_the_two_commands() -> None:
    assert "pip install . && lronnx walk" in README
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in README
    assert "pip install -qq -c constraints.txt -e '.[test]'" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
