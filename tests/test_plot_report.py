"""The page of a report says what there is to say, holds what it draws, and opens in a browser without a word."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_runs
import numpy as np
import pytest
from browser import PHONE, Browser, open_browser
from click.testing import CliRunner, Result

from lronnx import cli, runs
from lronnx.errors import InputError
from lronnx.plot import compare, page, report, segment
from lronnx.runs import Run

HOSTILE = made_runs.HOSTILE


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    analyze(folder)
    return folder


def analyze(folder: Path, *options: str) -> None:
    command = ["analyze", "-o", str(folder), "--samples", "3", "--radius", "1", "--anchors", "3", "--workers", "1"]
    result = CliRunner().invoke(cli.main, [*command, "--exhibits", "1", *options])
    assert result.exit_code == 0, result.stderr


def lronnx_report(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, ["report", *(str(one) for one in arguments)])
    assert result.exit_code == code, result.output
    return result


def payloads(content: bytes) -> dict[str, Any]:
    """The figures of a page by name, as it holds them."""
    found = re.findall(rb'<script type="application/json" class="payload">(.*?)</script>', content, re.DOTALL)
    return {figure["name"]: figure for figure in map(json.loads, found)}


def counts(figure: dict[str, Any]) -> list[int]:
    """How many points each mark has."""
    sizes = []
    for panel in figure["panels"]:
        for mark in panel["marks"]:
            kind, text = figure["arrays"][mark["x"]]
            size = len(base64.b64decode(text)) // int(kind[1:])
            sizes.append(size - 1 if mark["kind"] == "Steps" else size)
    return sizes


# --- What a page says


def test_a_page_tells_what_was_run() -> None:
    metadata = {"lronnx.width": "4", "lronnx.dataset": "some digits", "lronnx.scale": "1"}
    made = made_runs.run(1, 12, metadata=metadata, shown="here/some run", model="net.onnx")
    text = report.page_of([made], command="lronnx report 'here/some run' -o page.html").decode()
    for told in (
        "Linear regions of net.onnx",
        "here/some run",
        f"{1:064x}",
        "input image (1x3x12x10), output logits",
        "154 units in 3 switching layers (3 on the longest way), 3 outputs",
        "<dt>width</dt><dd>4</dd>",
        "some digits",
        "12 train (array, SHA-256 d)",
        "closed, anchors 2",
        "(pixel * 0.00392157 - 0.5) / 0.25; input is CHW",
        "sweep, double precision",
        "12 of 12",
        "1.5 seconds on cpu",
        "2026-11-26: lronnx 0; Linux",
        "lronnx analyze net.onnx",
        "lronnx report &#x27;here/some run&#x27; -o page.html",
    ):
        assert told in text, told
    totals = made.summary["totals"]
    assert (
        f"{totals['regions']:,} regions, {totals['linear_regions']:,} linear regions, every one of them found" in text
    )
    assert "<td>unit switches</td>" in text.replace(' class="short"', "")
    assert "warning" not in re.sub(
        r"<style>.*?</style>|<script>.*?</script>|<noscript>.*?</noscript>", "", text, flags=re.S
    )


def test_the_input_of_a_comparisons_other_network_is_mapped() -> None:
    made = made_runs.run(1, 8)
    how = made.manifest["study"]["paths"]["preprocessing"]

    def told() -> str:
        [text] = [text for name, text in report.about_data(made) if name == "preprocessing"]
        return text.partition("; ")[2]

    assert told() == "input is CHW"
    how["as_input_of"] = "0123456789abcdef"
    whose = "for the network of SHA-256 0123456789ab, the first of a comparison, whose input"
    assert told() == f"{whose} is CHW and was mapped to this one's"
    how["layout"] = ""
    assert told() == f"{whose} was mapped to this one's"
    del how["as_input_of"]
    assert not told()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ok": False}, "SELF-CHECK FAILED: do not rely on these figures. The self-check failed on these paths: 0."),
        ({"total": 99}, "UNFINISHED: 8 of 99 paths are done"),
        ({"partial": True}, "PARTIAL: 16 of 16 segments were not walked to their end"),
        ({"estimated": True}, "ESTIMATE: only parts of each segment were walked."),
    ],
)
def test_what_has_to_be_known_first_comes_first_and_stands_out(options: dict[str, Any], told: str) -> None:
    made = made_runs.run(1, 8, shown="one", **options)
    text = report.page_of([made]).decode()
    body = text[text.index("<main>") :]
    first = body[: body.index("<dl")]
    assert f'<div class="prose warning" role="note"><p>{told}' in first
    assert ("every one of them found" in text) == ("total" in options)
    several = report.page_of([made_runs.run(2, 8, shown="two"), made]).decode()
    assert f'<div class="prose warning" role="note"><p>one: {told}' in several


def test_estimates_are_called_so_everywhere() -> None:
    content = report.page_of([made_runs.run(1, 8, estimated=True)])
    figures = payloads(content)
    assert all("ESTIMATED" in figure["x"]["label"] for figure in figures.values())
    assert "local-similarity-by-split" not in figures
    assert "density-by-split" in figures
    assert b"ESTIMATE of" in content


def test_a_run_without_paths_says_so(browser: Browser, tmp_path: Path) -> None:
    content = report.page_of([made_runs.run(1, 0, total=5)])
    assert payloads(content) == {}
    browser.show(content, tmp_path)
    browser.check_quiet()
    assert "UNFINISHED: 0 of 5 paths are done" in browser.text()
    assert "No path is done, so there is nothing more to tell or to show." in browser.text()
    both = report.page_of([made_runs.run(1, 0, total=5, shown="none"), made_runs.run(1, 0, total=5, shown="either")])
    assert b"Fewer than two runs can be compared, so there is no comparison." in both
    assert b"The runs compared" not in both


# --- What a page draws


def test_marks_are_as_many_as_the_data(browser: Browser, tmp_path: Path) -> None:
    made = made_runs.run(2, 30, exhibits=[made_runs.exhibit(60)])
    content = report.page_of([made])
    browser.show(content, tmp_path)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.draw_all()
    browser.check_quiet()
    assert browser.overflow() == []
    train, test = (browser.marks("density-by-split")[at]["count"] for at in (-2, -1))
    assert train + test == 30
    for name, figure in payloads(content).items():
        drawn = browser.marks(name)
        assert [mark["count"] for mark in drawn] == counts(figure), name
        assert all(mark["way"] != "none" or not mark["count"] for mark in drawn), name
    assert [mark["count"] for mark in browser.marks("switches-by-layer")] == [3]
    browser.resize(PHONE)
    assert browser.overflow() == []
    browser.emulate(prefers_color_scheme="dark")
    browser.check_quiet()
    browser.emulate(prefers_color_scheme="light")


def test_every_path_can_be_found(browser: Browser, tmp_path: Path) -> None:
    made = made_runs.run(2, 30)
    browser.show(report.page_of([made]), tmp_path)
    density = made.paths["density"]
    path = int(np.argmax(np.where(made.paths["split"] == "train", density, 0)))
    told = browser.hover("density-by-split", 1, float(density[path]), 100.0)
    assert f"train sample {10 * path}, class {made.paths['class'][path]}" in told
    assert f"path {path} of train" in told
    assert f"density {density[path]:.6g}" in told
    layer = browser.hover("switches-by-layer", 0, 1.0, 0.0)
    assert "third" in layer
    assert f"{made.summary['totals']['switches_by_node']['third']} switches" in layer


@pytest.mark.parametrize(
    "options",
    [
        {
            "classes": [HOSTILE],
            "model": HOSTILE,
            "shown": f"x/{HOSTILE}",
            "metadata": {f"lronnx.{HOSTILE}": HOSTILE, "lronnx.accuracy_test": "high", "lronnx.labels": "[1]"},
            "nodes": [made_runs.node(HOSTILE, (1, 2, 2, 2), 1)],
            "exhibits": [made_runs.exhibit(9)],
            "total": 99,
        },
        {"outputs": 1000, "exhibits": [made_runs.exhibit(30, outputs=1000)]},
        {"paths": 1, "segments": 1, "exhibits": [made_runs.exhibit(1, outputs=1)], "outputs": 1},
        {"nodes": None, "classes": ()},
    ],
    ids=["names", "1000 outputs", "one region", "nothing recorded"],
)
def test_whatever_a_run_holds_the_page_is_quiet(browser: Browser, tmp_path: Path, options: dict[str, Any]) -> None:
    made = made_runs.run(**({"paths": 7} | options))
    shown = [made] if "paths" in options else [made, made_runs.run(5, 6, classes=[HOSTILE])]
    content = report.page_of(shown, title=HOSTILE, command=HOSTILE)
    browser.show(content, tmp_path)
    browser.run("for (const details of document.querySelectorAll('details')) details.open = true")
    browser.draw_all()
    browser.check_quiet()
    assert browser.overflow() == []
    assert browser.run("return document.title") == HOSTILE
    assert payloads(content)


def test_paths_of_very_many_regions_fit() -> None:
    exhibits = [made_runs.exhibit(100_000, outputs=10, path=path, size=224, most=path == 0) for path in range(2)]
    nodes = [made_runs.node(f"node {number}", (1, 256, 16, 16), number) for number in range(10)]
    many = made_runs.run(1, 2000, segments=1, outputs=10, nodes=nodes, exhibits=exhibits)
    content = report.page_of([many])
    assert len(content) < report.MOST_BYTES
    figures = payloads(content)
    assert {"path-0", "path-1"} <= figures.keys()
    assert "less than" in figures["path-0"]["caption"]
    assert all(figure["arrays"] for figure in figures.values())


def test_many_runs_are_compared_and_none_is_shown_by_itself(browser: Browser, tmp_path: Path) -> None:
    metadata = [{"lronnx.width": str(2 ** (n // 13)), "lronnx.accuracy_test": "0.9"} for n in range(130)]
    sweep = [made_runs.run(n, 6, shown=f"sweep/{n}", metadata=known) for n, known in enumerate(metadata)]
    content = report.page_of(sweep)
    assert payloads(content).keys() == {"density-and-deviation", "other-measures"}
    assert len(content) < report.MOST_BYTES
    browser.show(content, tmp_path)
    browser.check_quiet()
    assert "130 runs with 10 different values of: width of the network." in browser.text()
    points = [mark for mark in browser.marks("density-and-deviation") if mark["name"] == "test error"]
    assert [mark["count"] for mark in points] == [10]


def test_runs_of_unknown_networks_stand_in_the_order_of_their_names() -> None:
    missing = ("Where on their way units switch, and which, was not recorded in this run.",)
    sweep = [
        dataclasses.replace(made_runs.run(n, 6, shown=f"sweep/r{n}", nodes=None), notices=missing)
        for n in sorted(range(130), key=str)
    ]
    content = report.page_of(sweep)
    assert b"run, by name (118 in between are not named)" in content
    names = [text for _, text in payloads(content)["density-and-deviation"]["x"]["ticks"]]
    assert names == sorted(names, key=lambda text: int(text[1:]))
    assert (names[0], names[-1]) == ("r0", "r129")
    assert content.count(b"An older version of lronnx made this") == 1
    assert b"was not recorded in this run" not in content
    rows = re.findall(rb"<tr><t[dh][^>]*>r([0-9]+)</t", content)
    assert [int(one) for one in rows] == [*range(130)] * 2


def test_a_view_of_a_path_is_as_fine_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_runs.run(1, 4, exhibits=[made_runs.exhibit(5000)])
    sizes = [
        page.size(report._view(report._walked(made, made.exhibits[0]), made.exhibits[0], "", detail, pixels))
        for detail, pixels in report._views()
    ]
    # Which the search for one that fits relies on.
    assert sizes == sorted(sizes, reverse=True)
    monkeypatch.setattr(report, "_LEVELS", (report._Level(10, sizes[3] + 1),))
    [figure] = [one for name, one in payloads(report.page_of([made])).items() if name == "path-0"]
    assert len(json.dumps(figure, separators=(",", ":"))) == pytest.approx(sizes[3], rel=0.01)
    monkeypatch.setattr(report, "_LEVELS", (report._Level(10, 100),))
    text = report.page_of([made]).decode()
    assert "This path takes more room than there is on the page." in text


def test_the_view_of_an_exhibit_is_that_of_its_regions(run_folder: Path) -> None:
    found = runs.read(str(run_folder))
    figures = payloads(report.page_of([found]))
    for exhibit in found.exhibits:
        nodes = segment.Nodes.recorded(found.network["switching_nodes"])
        labels = segment.class_labels(found.metadata, 10)
        data = segment.from_regions(exhibit.regions, nodes, labels=labels, points=exhibit.points)
        drawn = segment.figure(data, name=f"path-{exhibit.path}", title=segment.headline(data, f"Path {exhibit.path}"))
        assert figures[drawn.name]["title"] == drawn.title
        assert len(figures[drawn.name]["pictures"]) == len(drawn.pictures) == 4
        assert str(exhibit.regions.num_rows) in drawn.title.replace(",", "")


def test_the_budget_is_kept_by_drawing_less(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_runs.run(1, 3000, segments=1)
    whole = report.page_of([made])
    monkeypatch.setattr(report, "MOST_BYTES", len(whole) - 50_000)
    less = report.page_of([made])
    assert len(less) < report.MOST_BYTES
    assert payloads(less).keys() == payloads(whole).keys()


def test_where_room_is_short_fewer_groups_have_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_runs.run(1, 400, segments=1, classes=[f"{'long ' * 20}{number}" for number in range(150)])
    classes = len(made.summary["groups"]["class"])
    row = re.compile(rb"<t[dh][^>]*>class (?:long )+\d+</t[dh]>\s*<td[^>]*>\d+</td>")
    whole = report.page_of([made])
    assert len(row.findall(whole)) == classes > 100
    monkeypatch.setattr(report, "MOST_BYTES", 0)
    least = report.page_of([made])
    assert len(row.findall(least)) == 100
    assert f"And {classes - 100} more classes: summary.json in the run folder lists them all.".encode() in least
    assert b"For want of room, curves have 150 steps at most." in least
    assert b"more classes" not in whole
    assert b"steps at most" not in whole


def test_the_same_runs_give_the_same_page() -> None:
    assert report.page_of([made_runs.run(1, 9)]) == report.page_of([made_runs.run(1, 9)])


# --- The command


def test_the_command_writes_a_page(run_folder: Path, browser: Browser, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    result = lronnx_report(run_folder, "-o", target, "--title", "Digits & more")
    assert re.fullmatch(rf"wrote {re.escape(str(target))}: \d\.\d MB, in \d+\.\d s\n", result.stderr)
    assert result.stdout == ""
    browser.open(target)
    browser.check_quiet()
    assert browser.overflow() == []
    assert browser.run("return document.title") == "Digits & more"
    assert "node_max_pool2d" in browser.text() or browser.marks("switches-by-layer")[0]["count"] == 6


def test_the_command_tells_of_a_page_that_is_too_large(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "page.html"
    monkeypatch.setattr(report, "MOST_BYTES", 100_000)
    notice = "\nNotice: a page is meant to have at most 0.1 MB, and so much cannot be told in less: give fewer runs"
    assert notice in lronnx_report(run_folder, "-o", target).stderr
    assert target.stat().st_size > 100_000


def test_the_command_writes_every_figure_alone(run_folder: Path, tmp_path: Path) -> None:
    figures = tmp_path / "new" / "figures"
    target = tmp_path / "page.html"
    other = tmp_path / "other"
    analyze(other, "--seed", "1")
    result = lronnx_report(run_folder, other, "-o", target, "--svg", figures)
    names = {path.name for path in figures.iterdir()}
    assert {path.stem for path in figures.iterdir()} >= set(payloads(target.read_bytes()))
    assert {"density-and-deviation.svg", "density-and-deviation.csv", "digits-units.svg", "other-units.svg"} <= names
    # All regions of a path are in the run folder.
    assert {name for name in names if re.search(r"path-\d+\.", name)} == {
        f"{run}-path-{one.path}.svg"
        for run, folder in (("digits", run_folder), ("other", other))
        for one in runs.read(str(folder)).exhibits
    }
    assert f"{len(names)} files, to {figures}" in result.stderr
    # The folder is there already, and no page is asked for.
    result = lronnx_report(run_folder, "--png", figures)
    assert "page" not in result.stderr
    assert (figures / "density-by-split.png").read_bytes().startswith(b"\x89PNG")
    assert {path.stem for path in figures.glob("*.png")} == set(payloads(report.page_of([runs.read(str(run_folder))])))


def test_wrong_usage(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page_ = tmp_path / "page.html"
    file = tmp_path / "file"
    file.write_text("")

    def told(*arguments: object) -> str:
        result = lronnx_report(*arguments, code=2)
        assert not page_.exists()
        return result.stderr

    assert "say what to write: -o REPORT.html" in told(run_folder)
    assert "is no run folder: it holds no manifest.json" in told(tmp_path, "-o", page_)
    assert "a report is a page, .html" in told(run_folder, "-o", tmp_path / "page.png")
    assert "does not exist: create it first" in told(run_folder, "-o", tmp_path / "nowhere" / "page.html")
    assert "--png" in told(run_folder, "--png", file / "figures")
    assert "is no folder" in told(run_folder, "--png", file)
    assert "is inside of the run folder" in told(run_folder, "-o", run_folder / "page.html")
    assert "is inside of the run folder" in told(run_folder, "--png", run_folder)
    assert "is inside of the run folder" in told(run_folder, "--svg", run_folder / "deep" / "figures")
    assert "--against nothing: no run knows such a number" in told(run_folder, "-o", page_, "--against", "nothing")
    assert "Missing argument 'RUN [RUN ...]'" in told()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pictures need plotly and pillow" in told(run_folder, "-o", page_)
    assert "pictures need matplotlib and pillow" in told(run_folder, "--svg", tmp_path / "figures")


def test_against_is_checked_for_a_page_of_one_run() -> None:
    made: Run = made_runs.run(1, 4)
    with pytest.raises(InputError, match="no run knows such a number"):
        report.page_of([made], against="width")
    content = report.page_of([made], against="units")
    assert b"A single run has nothing to be compared against" in content
    assert "density-and-deviation" not in payloads(content)
    assert not any(one.name == "density-and-deviation" for one in report.figures([made], "units")[0])


# --- Runs that cannot be put beside each other


def test_a_run_is_told_once(run_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run_folder, copy)
    target = tmp_path / "page.html"
    result = lronnx_report(run_folder, f"{run_folder}/../{run_folder.name}", copy, "-o", target)
    folder = f"{run_folder}/../{run_folder.name} is left out: {run_folder} is the same folder."
    equal = f"{copy} is left out: it is a copy of {run_folder}."
    assert f"Notice: {folder}\nNotice: {equal}\n" in result.stderr
    text = target.read_text()
    assert folder in text
    assert equal in text
    found = runs.read(str(run_folder))
    assert f"{found.done} paths through the input space, {found.summary['totals']['regions']:,} regions" in text
    assert report.distinct([found, found])[1] == [f"{run_folder} was given twice: it is told once."]
    # Others of the same study are none: of another network, or with other rows.
    one = made_runs.run(1, 5, shown="one")
    for other in (
        made_runs.run(2, 5, shown="one"),
        dataclasses.replace(one, manifest=made_runs.run(2, 5).manifest),
        dataclasses.replace(one, paths={**one.paths, "density": one.paths["density"] + 1e-9}),
    ):
        assert report.distinct([one, other])[1] == []
    assert len(report.distinct([one, dataclasses.replace(one, shown="other")])[0]) == 1


def test_a_partial_run_is_told_and_not_compared() -> None:
    whole = [made_runs.run(seed, 8, shown=f"whole{seed}") for seed in (1, 2)]
    partial = made_runs.run(3, 8, shown="part", partial=True)
    partial.manifest["study"]["walk"]["max_regions"] = 50  # type: ignore[index]
    content = report.page_of([*whole, partial])
    text = content.decode()
    assert (
        "Left out, since only parts of their paths were walked, other parts in every run: part: PARTIAL (50 %" in text
    )
    assert "Where the budget of 50 regions ended the walk of a segment, its number of regions is only that" in text
    assert "<td>PARTIAL (50 % walked)</td>" in text.replace(' class="short"', "")
    regions, linear = (sum(run.summary["totals"][key] for run in whole) for key in ("regions", "linear_regions"))
    assert (
        f"16 paths through the input space, {regions:,} regions, {linear:,} linear regions, every one of them found; "
        "and 8 paths walked in part" in text
    )
    assert "means over all paths of a run, PARTIAL: over the parts that were walked" in text.lower().replace(
        "partial:", "PARTIAL:"
    )
    for name, figure in payloads(content).items():
        if name.startswith("part-"):
            assert figure["caption"].startswith("PARTIAL (50 % walked): all figures are about the parts")
        else:
            assert "PARTIAL" not in json.dumps(figure)
    assert payloads(content)["part-density-by-split"]["x"]["label"].startswith("PARTIAL: density")
    one = report.page_of([whole[0], partial]).decode()
    assert "Fewer than two runs can be compared, so there is no comparison." in one
    assert ">The runs compared<" not in one
    assert ">The runs compared<" in text


def test_pages_of_runs_with_exhibits_have_room_to_spare() -> None:
    shown = [
        made_runs.run(
            n,
            300,
            shown=f"run{n}",
            outputs=10,
            segments=8,
            classes=[f"kind {number}" for number in range(10)],
            exhibits=[
                made_runs.exhibit(30_000, outputs=10, path=path, size=32, most=path < 2, seed=path) for path in range(4)
            ],
        )
        for n in (1, 2)
    ]
    content = report.page_of(shown)
    assert len(content) <= 7_500_000
    assert sum("path-" in name for name in payloads(content)) == 8


def test_tables_tell_no_interval_of_few_paths() -> None:
    runs_ = [made_runs.run(n, 4, shown=f"run{n}") for n in (1, 2)]
    assert b" .. " not in report.page_of(runs_)
    assert b" .. " in report.page_of([made_runs.run(n, 5, shown=f"run{n}") for n in (1, 2)])


def test_titles_of_still_figures_say_whose_they_are() -> None:
    shown = [made_runs.run(n, 6, shown=f"run{n}", exhibits=[made_runs.exhibit(9)]) for n in (1, 2)]
    narrow, wide = report.figures(shown)
    for figure in [*narrow, *wide]:
        for number in (1, 2):
            assert figure.title.startswith(f"run{number}: ") == figure.name.startswith(f"run{number}-")
    assert wide[0].title.startswith(
        f"run1: Path 0, train sample 0, class {shown[0].paths['class'][0]}, corrupted label"
    )
    assert not any(figure.table for figure in wide)
    alone, _ = report.figures(shown[:1])
    assert alone[0].title == "Density by split"


def test_training_errors_say_of_which_labels_they_are() -> None:
    known = {"lronnx.accuracy_test": "0.5", "lronnx.accuracy_train": "0.9"}
    true = {"lronnx.accuracy_train_true_labels": "0.75"}
    pair = [made_runs.run(n, 6, shown=f"run{n}", metadata=known | true | {"lronnx.width": str(n)}) for n in (1, 2)]
    content = report.page_of(pair)
    names = {mark.get("name") for mark in payloads(content)["density-and-deviation"]["panels"][0]["marks"]}
    assert {"test error", "training error (labels as trained)", "training error (true labels)"} <= names
    text = re.sub(r' class="[a-z ]*"', "", content.decode())
    assert "<td>training error (labels as trained)</td><td>10 %</td><td>10 %</td>" in text
    assert "<td>training error (true labels)</td><td>25 %</td><td>25 %</td>" in text
    for same in ({}, {"lronnx.accuracy_train_true_labels": "0.9"}):
        one = made_runs.run(1, 6, metadata=known | same)
        assert compare.errors(one) == pytest.approx({"test error": 50.0, "training error (labels as trained)": 10.0})
