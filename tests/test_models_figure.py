"""The figure of a sweep shows what was measured, and the command refuses what is wrong."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from known_sweep import TRAIN_ACCURACY, WIDTHS, network, sweep, written

from models import figure, results, statistics

ROOT = Path(__file__).parents[1]


# --- figure ---------------------------------------------------------------------------------------------------


def drawn(read: results.Results, **options: Any) -> Any:
    """The figure as it is laid out, with matplotlib's artists to look at."""
    matplotlib = pytest.importorskip("matplotlib")
    title = options.pop("title", None)
    with matplotlib.rc_context(figure._STYLE):
        picture = figure._figure(results.curves(read, **options), title)
        picture.canvas.draw()
    return picture


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_figure_shows_what_was_measured(tmp_path: Path) -> None:
    read = written(tmp_path, sweep())
    picture = drawn(read, title="Digits")
    panels = picture.axes
    assert picture.get_suptitle() == "Digits"
    assert [axes.get_ylabel().split("\n")[0] for axes in panels] == [
        "error (share of",
        "density of regions",
        "absolute deviation",
        "local similarity",
    ]
    assert [len(axes.containers) for axes in panels] == [2, 3, 3, 3]
    assert [axes.get_yscale() for axes in panels] == ["linear", "log", "linear", "linear"]
    assert panels[-1].get_xlabel() == "width"
    assert panels[-1].get_xscale() == "log"
    assert [text.get_text() for text in panels[1].get_legend().texts] == [
        "clean training",
        "corrupted training",
        "test points",
    ]
    [curve] = results.curves(read)
    mean, half = statistics.mean_interval(curve.values["absolute_deviation_train_corrupted"])
    line, _, [bars] = panels[2].containers[1].lines
    np.testing.assert_allclose(line.get_xdata(), WIDTHS)
    np.testing.assert_allclose(line.get_ydata(), mean)
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.stack([mean - half, mean + half], axis=1))
    clean, test = (panels[2].containers[i].lines[0].get_xdata() / WIDTHS for i in (0, 2))
    np.testing.assert_allclose((clean, 1 / test), 256**-0.009)  # on either side, as far at every width
    dots = [line for line in panels[2].lines if line.get_marker() == "."]
    assert [len(line.get_ydata()) for line in dots] == [5 * len(WIDTHS)] * 3
    for axes in panels:
        [threshold] = [line for line in axes.lines if line.is_dashed()]
        assert list(threshold.get_xdata()) == [20, 20]
    assert "interpolation\nthreshold (mean train\naccuracy ≥ 0.99)" in texts(panels[0])


def test_figure_of_one_seed_without_noise_or_threshold(tmp_path: Path) -> None:
    rows = sweep(1, groups=["train_clean", "test"], accuracy=TRAIN_ACCURACY * 0.9)
    picture = drawn(written(tmp_path, rows))
    assert picture.get_suptitle() == "mlp_w_w, width 1 to 256, 1 seed"
    assert [len(axes.containers) for axes in picture.axes] == [2, 2, 2, 2]
    assert not any(container.has_yerr for axes in picture.axes for container in axes.containers)
    assert not any(line.is_dashed() or line.get_marker() == "." for axes in picture.axes for line in axes.lines)


def test_figure_of_nothing_measured_says_so(tmp_path: Path) -> None:
    picture = drawn(written(tmp_path, sweep(2, groups=[])))
    assert [texts(axes) for axes in picture.axes[1:]] == [["not measured"]] * 3


def test_families_side_by_side(tmp_path: Path) -> None:
    rows = [*sweep(2, name=lambda width: f"cnn5_w{width}"), *sweep(2, name=lambda width: f"resnet18_w{width}")]
    read = written(tmp_path, rows)
    picture = drawn(read, x="parameters")
    assert len(picture.axes) == 8
    assert picture.get_size_inches()[0] == pytest.approx(6.8)
    assert [axes.get_title() for axes in picture.axes[:2]] == [
        "cnn5_w, parameters 64 to 16.4k, 2 seeds",
        "resnet18_w, parameters 64 to 16.4k, 2 seeds",
    ]
    assert len(drawn(read, family="cnn5_w").axes) == 4
    assert len(statistics.compute(read).families) == 2


def test_a_density_of_0_counts_in_the_mean(tmp_path: Path) -> None:
    rows = list(sweep())
    rows[0]["density_test"] = 0
    picture = drawn(written(tmp_path, rows))
    mean = np.mean([row["density_test"] for row in rows if row["width"] == 1])
    assert picture.axes[1].containers[2].lines[0].get_ydata()[0] == pytest.approx(mean)


def test_bars_and_axes_end_where_the_quantities_do(tmp_path: Path) -> None:
    """Of two seeds that differ much, 95 % t-intervals reach far beyond what is possible."""
    rows = list(sweep(2, noise=1))
    for row in rows:
        row["train_accuracy"] = min(row["train_accuracy"], 1 - 0.1 * row["seed"])
        row |= {f"local_similarity_{group}": 0.9 - 0.8 * row["seed"] for group in results.GROUPS}
    read = written(tmp_path, rows)
    [curve] = results.curves(read)
    for panel, axes in zip(figure._PANELS, drawn(read).axes, strict=True):
        for line, container in zip(panel.lines, axes.containers, strict=True):
            mean, half = statistics.mean_interval(curve.values[line.column])
            _, _, [bars] = container.lines
            low, high = np.array([segment[:, 1] for segment in bars.get_segments()]).T
            least, most = (-1, 1) if "similarity" in line.column else (0, 1 if "error" in line.column else math.inf)
            assert ((mean - half < least) | (mean + half > most)).any()
            np.testing.assert_allclose(low, np.maximum(mean - half, least), atol=1e-12)
            np.testing.assert_allclose(high, np.minimum(mean + half, most), atol=1e-12)
    error, _, deviation, similarity = (axes.get_ylim() for axes in drawn(read).axes)
    assert (error[0], deviation[0], similarity[1]) == (0, 0, 1)
    assert similarity[0] < -0.9


MANY = (2, 3, 5, 7, 10, 14, 17, 20, 24, 28, 40, 64, 128, 256)


def test_groups_of_neighbouring_widths_stay_apart(tmp_path: Path) -> None:
    rows = [
        network(f"mlp_{w}", width=w, seed=s, density_train_clean=1.0, density_test=2.0) for w in MANY for s in (0, 1)
    ]
    axes = drawn(written(tmp_path, rows)).axes[1]
    first, last = (container.lines[0] for container in axes.containers)
    left, right = (
        axes.transData.transform(np.stack([line.get_xdata(), line.get_ydata()], 1))[:, 0] for line in (first, last)
    )
    across = first.get_markersize() / 72 * axes.figure.dpi
    assert (left[1:] - right[:-1]).min() > across


@pytest.mark.parametrize("threshold", range(8))
@pytest.mark.parametrize("error", [0.6, 0.99, 0.2])
def test_what_is_written_beside_the_threshold_hides_nothing(tmp_path: Path, threshold: int, error: float) -> None:
    """The errors of a task that is hard lie high at every width."""
    widths = (1, 2, 3, 4, 5, 6, 8, 12)
    rows = [
        network(f"vgg8_w{w}", width=w, seed=s, test_accuracy=1 - error * (1 - s / 20), train_accuracy=accuracy)
        for s in (0, 1)
        for w, accuracy in zip(widths, [0.3 + 0.05 * i if i < threshold else 1.0 for i in range(8)], strict=True)
    ]
    axes = drawn(written(tmp_path, rows)).axes[0]
    [words] = [text for text in axes.texts if text.get_text().startswith("interpolation")]
    box = words.get_window_extent()
    assert axes.bbox.x0 <= box.x0
    assert box.x1 <= axes.bbox.x1 + 1
    for container in axes.containers:
        line, _, bars = container.lines
        points = axes.transData.transform(np.stack([line.get_xdata(), line.get_ydata()], 1))
        x = np.linspace(points[0, 0], points[-1, 0], 1000)
        y = np.interp(x, *points.T)
        assert y[(x > box.x0) & (x < box.x1)].max(initial=0) < box.y0
        for segment in bars[0].get_segments():
            (x0, y0), (_, y1) = axes.transData.transform(segment)
            assert not box.x0 < x0 < box.x1 or max(y0, y1) < box.y0


def test_epochs_from_0_on(tmp_path: Path) -> None:
    rows = [network(epoch=epoch, density_test=epoch + 1.0) for epoch in (0, 1, 2, 4)]
    picture = drawn(written(tmp_path, rows))
    bottom = picture.axes[-1]
    assert bottom.get_xlabel() == "epoch"
    places = bottom.transData.transform([(epoch, 0) for epoch in (0, 1, 2, 4)])[:, 0]
    np.testing.assert_allclose(np.diff(places), np.diff(places)[0])
    np.testing.assert_allclose(np.diff(figure._positions(np.array([0.0, 1, 2, 4]))), math.log(2))


@pytest.mark.parametrize("widths", [WIDTHS, (2, 3, 5, 7, 10, 14, 17, 20, 24, 28, 40, 64, 128, 256), range(90, 130)])
def test_tick_labels_do_not_overlap(tmp_path: Path, widths: Sequence[int]) -> None:
    picture = drawn(written(tmp_path, [network(f"mlp_{w}", width=w, density_test=1.0) for w in widths]))
    bottom = picture.axes[-1]
    np.testing.assert_array_equal(bottom.get_xticks(), widths)
    labels = [label for label in bottom.get_xticklabels() if label.get_text()]
    assert labels[0].get_text() == str(widths[0])
    assert labels[-1].get_text() == str(widths[-1])
    boxes = [label.get_window_extent() for label in labels]
    assert all(one.x1 + 1 < other.x0 for one, other in pairwise(boxes))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files_are_the_same_every_time_and_settings_stay(tmp_path: Path, suffix: str) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    read = written(tmp_path, sweep(2))
    figure.draw(read, tmp_path / f"a{suffix}")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 10}):
        before = dict(matplotlib.rcParams)
        figure.draw(read, tmp_path / f"b{suffix}")
        assert dict(matplotlib.rcParams) == before
    content = (tmp_path / f"a{suffix}").read_bytes()
    assert content == (tmp_path / f"b{suffix}").read_bytes()
    assert b"Date" not in content
    if suffix == ".png":
        assert content[:4] == b"\x89PNG"
        assert int.from_bytes(content[16:20], "big") == 680  # 3.4 inches at 200 dots each
        assert b"Software" not in content


def test_only_drawing_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = written(tmp_path, sweep(2))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    statistics.compute(read)
    with pytest.raises(ModuleNotFoundError, match=r"drawing needs matplotlib: pip install '.\[train\]'"):
        figure.draw(read, tmp_path / "a.png")
    code = "import sys, models.figure; print(sorted({'matplotlib', 'torch', 'lronnx'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


# --- command --------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    read = written(tmp_path, sweep())
    paths = {name: str(tmp_path / name) for name in ("r.csv", "f.png", "s.json")}
    arguments = [paths["r.csv"], "-o", paths["f.png"], "--json", paths["s.json"], "--title", "Digits"]
    run = CliRunner().invoke(figure.main, arguments)
    assert (run.exit_code, run.output) == (0, statistics.compute(read).text())
    assert (tmp_path / "s.json").read_text() == statistics.compute(read).json()
    run = CliRunner().invoke(figure.main, [paths["r.csv"], "--all"])
    found = statistics.compute(read)
    assert (run.exit_code, run.output) == (0, f"{found.text()}\n{found.details()}")
    figure.draw(read, tmp_path / "again.png", title="Digits")
    assert (tmp_path / "f.png").read_bytes() == (tmp_path / "again.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "none.csv' does not exist"),
        (["r.csv", "-o", "f.jpg"], "f.jpg: a figure is written as .png, .svg, .pdf, not as .jpg"),
        (["r.csv", "--x", "units"], "'units' is not one of"),
        (["r.csv", "--family", "cnn"], "no family 'cnn'; there are mlp_w_w"),
        (["bad.csv"], "bad.csv, line 1: lacks the columns"),
        (["r.csv", "--json", "no/s.json"], "no"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    written(tmp_path, sweep(2))
    (tmp_path / "bad.csv").write_text("a,b\n")
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(figure.main, arguments)
    assert run.exit_code == 2
    assert message in run.output
    assert isinstance(run.exception, SystemExit)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.csv", "r.csv"]
