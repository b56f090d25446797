"""Options of the test run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import budget
import pytest

# Markers of tests that run only if the option of the same name asks for them, and what these need.
OPT_IN = {"slow": "run the tests marked slow as well", "frameworks": "run what needs lronnx[interoperability] as well"}


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is measured in tests is kept for them only."""
    with pytest.MonkeyPatch.context() as patch:
        if "LRONNX_CACHE_DIR" not in os.environ:
            patch.setenv("LRONNX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_configure(config: pytest.Config) -> None:
    # Asked while test files are imported.
    if config.getoption("--slow"):
        os.environ[budget.VARIABLE] = "1"


def pytest_addoption(parser: pytest.Parser) -> None:
    for marker, told in OPT_IN.items():
        parser.addoption(f"--{marker}", action="store_true", help=told)


LONGEST = (
    "test_study.py",
    "test_sweep.py",
    "test_walk_exact.py",
    "test_plot_report.py",
    "test_plot_pairs.py",
    "test_runs.py",
    "test_oracle.py",
    "test_plot_still.py",
    "test_metrics.py",
    "test_side_by_side.py",
    "test_workers.py",
    "test_readme.py",
    "test_plot_segment.py",
    "test_scales.py",
)
"""Files that take longest, which begin first: where several processes share the files, none is left with one of them
at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(LONGEST)))
    for marker in OPT_IN:
        if config.getoption(f"--{marker}"):
            continue
        for item in items:
            if marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"{marker}: runs with --{marker}"))
