"""The fences between modules: who may import what, and where operators may be named."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx.defs
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lronnx"
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))
# Folders whose Python belongs to the project, but not to the package.
OTHERS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("models", "benchmarks", ".ci")
    for path in (ROOT / folder).rglob("*.py")
)

# A package and the only modules of lronnx that may import it.
FENCES = {
    "onnxruntime": {"lronnx/session.py"},
    "onnx": {"lronnx/onnx_io.py"},
    "click": {"lronnx/cli.py"},
    "distributed": {"lronnx/cluster.py"},
    "matplotlib": {"lronnx/plot/still.py"},
    "plotly": {"lronnx/plot/page.py"},
    "torch": set(),
    "sklearn": set(),
    "tensorflow": set(),
    "keras": set(),
    "jax": set(),
    "models": set(),
    "tests": set(),
}

# Names of up to two letters ("If", "Or") are too common as words to say anything.
OPERATORS = {schema.name for schema in onnx.defs.get_all_schemas() if len(schema.name) > 2}

# (module, literal) -> why it is not the operator that is meant, or why it cannot live in lronnx/ops/.
ALLOWED_LITERALS: dict[tuple[str, str], str] = {}


def imported_packages(tree: ast.AST) -> Iterator[str]:
    """The top-level packages that a module imports, at any depth and by any common means."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0]
            named = isinstance(first, ast.Constant) and isinstance(first.value, str)
            if called in {"import_module", "__import__"} and named:
                yield first.value.partition(".")[0]


def operator_literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, literal) of every string literal that is exactly the name of an ONNX operator."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in OPERATORS:
            yield node.lineno, node.value


def parse(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"), filename=module)


def test_import_loads_no_training_framework() -> None:
    # Whoever only calls `lronnx.load` must not pay for the frameworks, nor need them installed.
    code = "import sys, lronnx; lronnx.load; print(sorted({'torch', 'sklearn'}.intersection(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_the_command_line_draws_nothing_unless_it_is_asked_to() -> None:
    # Drawing libraries take a second to load, and need not be installed.
    code = (
        "import sys, lronnx.cli; from click.testing import CliRunner; "
        "assert CliRunner().invoke(lronnx.cli.main, ['walk']).exit_code == 0; "
        "print(sorted({'matplotlib', 'plotly', 'PIL'}.intersection(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("package", FENCES)
def test_only_its_module_imports(package: str) -> None:
    importers = {module for module in MODULES if package in imported_packages(parse(module))}
    assert importers == FENCES[package]


def test_models_meet_lronnx_through_files_and_the_command_line_only() -> None:
    models = [module for module in OTHERS if module.startswith("models/")]
    assert "models/training.py" in models
    assert not [module for module in models if "lronnx" in imported_packages(parse(module))]


def test_only_models_train() -> None:
    importers = {module for module in OTHERS if "torch" in imported_packages(parse(module))}
    assert importers
    assert all(module.startswith("models/") for module in importers)


def test_operators_are_named_in_ops_only() -> None:
    found = {
        (module, literal): line
        for module in MODULES
        if not module.startswith("lronnx/ops/")
        for line, literal in operator_literals(parse(module))
    }
    strays = [
        f"{module}:{line}: {literal!r}"
        for (module, literal), line in found.items()
        if (module, literal) not in ALLOWED_LITERALS
    ]
    assert not strays, "operators are named outside lronnx/ops/:\n" + "\n".join(strays)
    assert ALLOWED_LITERALS.keys() <= found.keys(), "an exception is no longer needed"


@pytest.mark.parametrize(
    ("source", "packages"),
    [
        ("import onnx.helper as h", ["onnx"]),
        ("def f():\n    from onnx import helper", ["onnx"]),
        ("import importlib\nimportlib.import_module('onnx.helper')", ["importlib", "onnx"]),
        ("__import__('onnx')", ["onnx"]),
        ("import onnxruntime", ["onnxruntime"]),
        ("from .onnx import x", []),
        ("print('onnx')", []),
    ],
)
def test_the_import_check_sees(source: str, packages: list[str]) -> None:
    assert list(imported_packages(ast.parse(source))) == packages


@pytest.mark.parametrize(
    ("source", "literals"),
    [
        ("kind = 'Relu'", ["Relu"]),
        ("table = {'MaxPool': 1}", ["MaxPool"]),
        ("match kind:\n    case 'Conv':\n        pass", ["Conv"]),
        ("def f():\n    'Relu and MaxPool are switches.'", []),
        ("kind = Relu", []),
        ("kind = 'If'", []),
    ],
)
def test_the_operator_check_sees(source: str, literals: list[str]) -> None:
    assert [literal for _, literal in operator_literals(ast.parse(source))] == literals
