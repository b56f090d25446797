"""The report of one or several runs: all that there is to say and to see about them, as one page or as single figures.

What is said is what :mod:`lronnx.report` prints, and the facts in the runs' manifests; what is seen are the figures of
:mod:`lronnx.plot.study`, :mod:`~lronnx.plot.compare` and :mod:`~lronnx.plot.segment`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lronnx import __version__, inputs, report
from lronnx.plot import compare, segment, study
from lronnx.plot.compare import Comparison, Named
from lronnx.plot.figures import Figure, Picture
from lronnx.plot.study import MEASURES, Detail, Group, Layers
from lronnx.runs import NO_EXHIBITS, NO_SWITCHES, UNFINISHED, Exhibit, Run

if TYPE_CHECKING:
    from lronnx.plot import page

MOST_BYTES = 7_500_000
"""Of a page."""

MOST_DETAILED = 6
"""Runs up to which each is shown by itself; of more, all are compared only."""

MOST_BESIDE = 3
"""Runs up to which tables have columns for each, instead of rows."""

MOST_EXHIBITS = 12
"""Paths whose regions a page shows, of all runs together."""

MOST_TESTS = 100
"""Rows of tables of tests, for each kind of group."""

WIDE = 7.0
"""Inches: the width of a still figure of a path, two columns of a paper."""


@dataclass(frozen=True)
class _Level:
    """How much of a page there is: points of single paths in a figure, bytes for the paths' regions, rows of tables
    for each kind of group of paths, and steps of distribution functions."""

    paths: int
    regions: int
    groups: int = 1000
    steps: int = study.MOST_STEPS


# Each is taken if the page is too large with the one before.
_LEVELS = (
    _Level(600, 2_000_000),
    _Level(300, 1_700_000),
    _Level(100, 1_400_000),
    _Level(40, 900_000),
    _Level(10, 300_000),
    _Level(10, 300_000, groups=100, steps=150),
)


def _views() -> Iterator[tuple[segment.Detail, int]]:
    """From all that can be seen of a path to what is left of it on a small page, each with the longest side of its
    pictures, in pixels."""
    yield segment.PAGE, 96
    coarser = replace(segment.PAGE, ticks=4000, steps=4000, stops=3000, rows=0)
    yield coarser, 64
    for columns in (1500, 1200, 900, 700, 500, 350, 250, 150):
        coarser = replace(
            coarser,
            tolerance=1.2 / columns,
            ticks=2 * columns,
            steps=2 * columns,
            columns=columns,
            bands=columns // 2,
            stops=columns // 2,
            series=7 if columns > 500 else 4,
        )
        yield coarser, 64 if columns > 300 else 32
    for columns in (100, 60, 30):
        coarser = replace(
            coarser,
            tolerance=2.0 / columns,
            ticks=0,
            steps=columns,
            columns=columns,
            bands=columns // 2,
            stops=0,
            series=2,
        )
        yield coarser, 16


def name(runs: Sequence[Run]) -> list[Named]:
    """Runs with names of their own: that of the folder, or, where two folders have the same, as much of its address
    as tells them apart."""
    addresses = [re.split(r"[/\\]+", os.path.normpath(run.shown)) for run in runs]
    labels = []
    for address in addresses:
        length = 1
        while length < len(address) and any(
            other != address and other[-length:] == address[-length:] for other in addresses
        ):
            length += 1
        labels.append("/".join(address[-length:]))
    found: list[Named] = []
    for run, label in zip(runs, labels, strict=True):
        label = _free(label or run.shown, {named.label for named in found}, " ({})")
        plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode()
        slug = _free(re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:60] or "run", {n.slug for n in found}, "-{}")
        found.append(Named(run, label, slug))
    return found


def _free(wanted: str, taken: set[str], pattern: str) -> str:
    """A name that is not taken; on many file systems, names that differ in case alone are the same."""
    found, count = wanted, 1
    folded = {name.casefold() for name in taken}
    while found.casefold() in folded:
        count += 1
        found = wanted + pattern.format(count)
    return found


def distinct(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Every run once, of many in the order of their names, and what to say of those that are left out.

    The same run is one from the same folder, or one whose study, network and paths are equal: a copy.
    """
    folders: dict[str, Run] = {}
    contents: dict[str, Run] = {}
    kept: list[Run] = []
    notices = []
    for run in runs:
        folder = os.path.realpath(run.shown) if os.path.isdir(run.shown) else run.shown
        digest = hashlib.sha256(json.dumps([run.study, run.network, run.total], sort_keys=True).encode())
        for column in sorted(run.paths):
            digest.update(f"{column} {run.paths[column].dtype.str}".encode() + run.paths[column].tobytes())
        content = digest.hexdigest()
        if os.path.isdir(folder) and folder in folders:
            first = folders[folder].shown
            same = (
                f"is left out: {first} is the same folder" if first != run.shown else "was given twice: it is told once"
            )
            notices.append(f"{run.shown} {same}.")
        elif run.done and content in contents:
            notices.append(f"{run.shown} is left out: it is a copy of {contents[content].shown}.")
        else:
            kept.append(run)
            folders[folder] = contents[content] = run
    if len(kept) > MOST_DETAILED:
        kept.sort(key=lambda run: compare.natural(run.shown))
    return kept, notices


def figures(runs: Sequence[Run], against: str | None = None) -> tuple[list[Figure], list[Figure]]:
    """All figures, in full: those for a column of a paper, and those of single paths, which are twice as wide.

    Names are the same for the same runs under the same names; titles say which of several runs it is. Those of single
    paths have no table: all their regions are in the run folder. Raises InputError for an ``against`` that no run
    knows.
    """
    named = name(distinct(runs)[0])
    narrow: list[Figure] = []
    wide: list[Figure] = []
    found = compare.compared(named, against)
    if len(found.runs) > 1:
        narrow += _comparing(found, study.ALL)
    if len(named) <= MOST_DETAILED:
        for one in named:
            prefix = _prefix(named, one)
            whose = "" if len(named) == 1 else f"{one.label}: "
            own = [figure for _, of_kind in _distributions(one.run, prefix, study.ALL) for figure in of_kind]
            own += [figure for _, part in _bends(one.run, prefix, study.ALL) for figure in part]
            narrow += [replace(figure, title=whose + figure.title) for figure in own]
            for exhibit in one.run.exhibits:
                drawn = _view(_walked(one.run, exhibit), exhibit, prefix, segment.STILL, None)
                # Regions are many megabytes.
                wide.append(replace(drawn, title=_still_title(drawn.title, whose, one.run, exhibit), table={}))
    return narrow, wide


def _still_title(title: str, whose: str, run: Run, exhibit: Exhibit) -> str:
    """The title of a path's figure, which stands alone: also of which run, and of which sample, it is."""
    number = f"Path {exhibit.path}"
    sample = _sample(run, exhibit)
    return whose + title.replace(number, f"{number}, {sample}" if sample else number, 1)


def page_of(runs: Sequence[Run], *, title: str | None = None, against: str | None = None, command: str = "") -> bytes:
    """The page, UTF-8. ``command``: what makes it again.

    It has at most :data:`MOST_BYTES`, unless there is so much to say that even the least of :data:`_LEVELS` needs more.

    Raises InputError for an ``against`` that no run knows.
    """
    from lronnx.plot import page

    kept, left = distinct(runs)
    named = name(kept)
    content = b""
    for level in _LEVELS:
        content = page.render(
            title or _title(named), _Page(named, left, against, command, level).sections(), subtitle=_subtitle(named)
        )
        if len(content) <= MOST_BYTES:
            break
    return content


def _title(named: Sequence[Named]) -> str:
    if len(named) == 1:
        return f"Linear regions of {named[0].run.model}"
    models = {(one.run.model, one.run.study.get("model", {}).get("sha256")) for one in named}
    if len(models) == 1:
        return f"Linear regions of {named[0].run.model}, {len(named)} runs"
    return f"Linear regions of {len(models)} networks"


def _subtitle(named: Sequence[Named]) -> str:
    """Paths and regions of one and the same runs: of those that were walked to the end, if there are any."""
    whole = [one.run for one in named if compare.walked(one.run) == "exact"]
    counted = whole or [one.run for one in named if compare.walked(one.run) == "partial"]
    done = sum(run.done for run in counted or [one.run for one in named])
    words = f"{done:,} {study.plural(done, 'path')} through the input space"
    totals = [run.summary["totals"] for run in counted]
    regions, linear = (sum(int(one.get(key, 0)) for one in totals) for key in ("regions", "linear_regions"))
    if regions:
        words += f", {regions:,} {study.plural(regions, 'region')}, {linear:,} linear {study.plural(linear, 'region')}"
    if regions and not whole:
        words += " on the parts that were walked"
    elif regions and all(one["self_check"]["ok"] for one in totals):
        words += ", every one of them found"
    left = sum(one.run.done for one in named) - done
    return words + (f"; and {left:,} {study.plural(left, 'path')} walked in part" if left else "")


def _prefix(named: Sequence[Named], one: Named) -> str:
    return "" if len(named) == 1 else f"{one.slug}-"


# --- What is drawn --------------------------------------------------------------------------------------------

_KINDS: tuple[tuple[str, str, str], ...] = (
    ("split", "split", "split"),
    ("labels", "label", "wrong and right training labels"),
    ("pair", "pair", "pairs in and across classes"),
    ("class", "class", "class"),
)
"""Kinds of groups: a key, what figures call it, and a heading."""


def _members(run: Run, kind: str) -> list[Group]:
    if kind == "labels":
        return study.divided(run) if run.summary["groups"]["split_and_corrupted"] else []
    if kind == "split":
        return study.groups(run, "split") or [study.everything(run)]
    return study.groups(run, kind)


def _distributions(run: Run, prefix: str, detail: Detail) -> Iterator[tuple[str, list[Figure]]]:
    """The distributions of every measure by every kind of group that there is, each with a heading."""
    if not run.done:
        return
    for kind, by, heading in _KINDS:
        members = _members(run, kind)
        if not members or (kind == "class" and len(members) < 2):
            continue
        draw = study.rows if kind == "class" or len(members) > 5 else study.distribution
        drawn = [
            draw(run, measure, members, name=f"{prefix}{measure.key}-by-{by}", by=by, detail=detail)
            for measure in MEASURES
        ]
        found = [_qualified(run, figure, axis=True) for figure in drawn if figure is not None]
        if found:
            yield f"By {heading}" if len(members) > 1 else "Of all paths", found


def _bends(run: Run, prefix: str, detail: Detail) -> Iterator[tuple[int, list[Figure]]]:
    """Where the network bends: figures, with how many fit side by side."""
    layers = Layers.of(run)
    if not len(layers) or not run.done:
        return
    yield 2, [_qualified(run, figure) for figure in study.by_layer(run, layers, name=prefix)]
    if compare.walked(run) == "partial":
        # What was not walked would look like what does not switch.
        return
    along = study.along(run, layers, name=prefix)
    inside = study.in_image(run, layers, name=prefix, detail=detail)
    yield 1, [along] if along is not None else []
    yield 2, study.by_unit(run, layers, name=prefix, detail=detail)
    yield 1, [inside] if inside is not None else []


def _qualified(run: Run, figure: Figure, *, axis: bool = False) -> Figure:
    """The figure of a run, which says so if its walks ended early; ``axis``: at its x axis, too."""
    if compare.walked(run) != "partial":
        return figure
    x = replace(figure.x, label=f"PARTIAL: {figure.x.label}") if axis else figure.x
    told = f"{compare.walked_text(run)}: all figures are about the parts that were walked."
    return replace(figure, x=x, caption=f"{told} {figure.caption}")


def _comparing(found: Comparison, detail: Detail) -> list[Figure]:
    """Trends, or means side by side, and the distributions of a few runs above each other."""
    if not found.runs:
        return []
    drawn = compare.trends(found)
    if 1 < len(found.runs) <= compare.MOST_SIDE_BY_SIDE:
        above = [compare.overlaid(found, measure, detail=detail) for measure in MEASURES]
        drawn += [figure for figure in above if figure is not None]
    return drawn


def _view(
    data: segment.SegmentData, exhibit: Exhibit, prefix: str, detail: segment.Detail, pixels: int | None
) -> Figure:
    """A path with all its regions; of pictures that are larger than so many pixels, the means of squares."""
    drawn = segment.figure(
        data,
        name=f"{prefix}path-{exhibit.path}",
        title=segment.headline(data, f"Path {exhibit.path}"),
        detail=detail,
    )
    if pixels is None:
        return drawn
    return replace(drawn, pictures=[_smaller(picture, pixels) for picture in drawn.pictures])


def _walked(run: Run, exhibit: Exhibit) -> segment.SegmentData:
    about = run.study.get("paths", {}).get("preprocessing") or {}
    known = inputs.Pixels(
        scale=about.get("scale"), mean=tuple(about.get("mean", (0.0,))), std=tuple(about.get("std", (1.0,)))
    )
    outputs = int(run.summary["outputs"] or 0)
    return segment.from_regions(
        exhibit.regions,
        segment.Nodes.recorded(run.network.get("switching_nodes", [])),
        labels=segment.class_labels(run.metadata, outputs),
        points=exhibit.points,
        pixels=known,
    )


def _smaller(picture: Picture, most: int) -> Picture:
    """A picture whose longest side has about ``most`` pixels at most: means over squares."""
    pixels = picture.pixels
    factor = math.ceil(max(pixels.shape[:2]) / most)
    if factor == 1:
        return picture
    height, width = (max(size // factor, 1) for size in pixels.shape[:2])
    cut = pixels[: height * factor, : width * factor].astype(np.float64)
    tall, wide = (math.ceil(cut.shape[0] / height), math.ceil(cut.shape[1] / width))
    cut = cut.reshape(height, tall, width, wide, *pixels.shape[2:])
    return replace(picture, pixels=np.rint(cut.mean(axis=(1, 3))).astype(np.uint8))


# --- The page -------------------------------------------------------------------------------------------------


class _Page:
    """The sections of a page, at a level of detail."""

    def __init__(
        self, named: Sequence[Named], left: Sequence[str], against: str | None, command: str, level: _Level
    ) -> None:
        from lronnx.plot import page

        self._left = left
        self._compares = compare.compared(named, against)

        self._page = page
        self._named = named
        self._asked = against is not None
        self._command = command
        self._level = level
        self._single = len(named) == 1
        self._detailed = named if len(named) <= MOST_DETAILED else ()
        self._detail = Detail(max(level.paths // len(named), 10), level.steps)

    def sections(self) -> list[page.Section]:
        found = [self._page.Section("What was run", self._what())]
        figures = self._page.Section("Key figures", self._key_figures())
        if len(self._compares.runs) > 1:
            compared = self._page.Section("The runs compared", self._compared())
            # Long tables come after what they say.
            found += [figures, compared] if self._detailed else [compared, figures]
        else:
            found.append(figures)
        for title, section in (
            ("Distributions", [block for named in self._detailed for block in self._distributed(named)]),
            ("Where the network bends" if self._single else "Where the networks bend", self._each(self._bent)),
            ("Extreme paths", self._each(self._extreme)),
        ):
            if section:
                found.append(self._page.Section(title, section))
        found.append(self._page.Section("Repeat it", self._again()))
        return found

    def _each(self, blocks: Callable[[Named], list[page.Block]], *, opened: int = 2) -> list[page.Block]:
        """The blocks of each run, of several in disclosures, the first of them open."""
        found: list[page.Block] = []
        for position, named in enumerate(self._detailed):
            own = blocks(named)
            if own and self._single:
                found += own
            elif own:
                found.append(self._page.Disclosure(named.label, own, open=position < opened))
        return found

    # ---- what was run

    def _what(self) -> list[page.Block]:
        blocks: list[page.Block] = list(self._warnings())
        blocks += [self._page.Prose(one) for one in self._left]
        if len(self._compares.runs) < 2:
            if not self._single:
                blocks.append(self._page.Prose("Fewer than two runs can be compared, so there is no comparison."))
                blocks += [self._page.Prose(one) for one in self._compares.notices]
            elif self._asked:
                blocks.append(
                    self._page.Prose("A single run has nothing to be compared against: --against is for several.")
                )
        if self._single:
            return [*blocks, self._page.Facts(_facts(self._named[0].run))]
        table = _run_table(self._named)
        blocks.append(table if self._detailed else self._page.Disclosure(f"All {len(self._named)} runs", [table]))
        blocks += self._each(lambda named: [self._page.Facts(_facts(named.run))], opened=0)
        if not self._detailed:
            blocks.append(
                self._page.Prose(
                    f"Of more than {MOST_DETAILED} runs, all are compared, and none is shown by itself: lronnx report "
                    "with one of the folders does that."
                )
            )
        return blocks

    def _warnings(self) -> Iterator[page.Block]:
        """What has to be known first, once for all runs that it is true of."""
        told: dict[tuple[str, bool], list[str]] = {}
        for named in self._named:
            run = named.run
            loud = report.study_warnings(run.summary)
            budget = run.study.get("walk", {}).get("max_regions")
            if compare.walked(run) == "partial" and budget is not None:
                loud[0] += (
                    f" Where the budget of {budget} regions ended the walk of a segment, its number of regions is only "
                    "that budget."
                )
            if not run.summary["totals"]["self_check"]["ok"]:
                loud[-1] = f"SELF-CHECK FAILED: do not rely on these figures. {loud[-1]}"
            if run.done < run.total:
                loud.append(f"UNFINISHED: {run.done} of {run.total} paths are done, and the figures are about these.")
            quiet = [one for one in run.notices if one != UNFINISHED.format(done=run.done, total=run.total)]
            if not run.network and run.done:
                # What else is missing is so for the same reason.
                quiet = [one for one in quiet if one not in (NO_SWITCHES, NO_EXHIBITS)]
                quiet.append(
                    "An older version of lronnx made this, and recorded no facts of the network, nor where on their "
                    "way units switch, nor all regions of single paths: analyzing again, to another folder, does."
                )
            for text, is_loud in [*((one, True) for one in loud), *((one, False) for one in quiet)]:
                told.setdefault((text, is_loud), []).append(named.label)
        for (text, is_loud), labels in sorted(told.items(), key=lambda item: not item[0][1]):
            where = "" if len(labels) == len(self._named) else f"{compare.listed(labels)}: "
            yield self._page.Prose(where + text, "warning" if is_loud else "plain")

    # ---- key figures

    def _key_figures(self) -> list[page.Block]:
        if self._single:
            return self._numbers(self._named[0])
        blocks: list[page.Block] = []
        for way, told in compare.WAYS.items():
            members = [named for named in self._named if named.run.done and compare.walked(named.run) == way]
            if members:
                table = self._means(members, told)
                title = f"Means of all {len(members)} runs" + told
                blocks.append(table if self._detailed else self._page.Disclosure(title, [table]))
        return [*blocks, *self._each(self._numbers, opened=0)]

    def _means(self, members: Sequence[Named], how: str) -> page.Block:
        """The means of every measure: a row for each run, or, of a few, columns with their intervals. ``how``: how the
        runs were walked."""
        summaries = [named.run.summary for named in members]
        names = summaries[0]["measures"]
        figures = [summary["groups"]["all"][0] for summary in summaries]
        caption = f"Means over all paths of a run{how}"
        if len(members) > MOST_BESIDE:
            rows = [
                (named.label, str(one["paths"]), *(report.short(one["measures"][column]["mean"]) for column in names))
                for named, one in zip(members, figures, strict=True)
            ]
            return self._page.DataTable(("run", "paths", *(report.MEASURES[column] for column in names)), rows, caption)
        interval = f"{100 * summaries[0]['confidence']:.4g} % interval"
        rows = []
        for column in names:
            told = [one["measures"][column] for one in figures]
            cells = ((report.short(one["mean"]), report.interval_text(report.interval(one))) for one in told)
            rows.append((report.MEASURES[column], *(cell for pair in cells for cell in pair)))
        return self._page.DataTable(
            ("measure of a path", *(("mean", interval) * len(members))),
            rows,
            caption,
            [("", 1), *((named.label, 2) for named in members)],
        )

    def _numbers(self, named: Named) -> list[page.Block]:
        run = named.run
        summary = run.summary
        blocks: list[page.Block] = [
            self._page.DataTable(("all paths together", "", "meaning"), report.total_rows(summary), sorts=False)
        ]
        if not run.done:
            return [*blocks, self._page.Prose("No path is done, so there is nothing more to tell or to show.")]
        columns = [one.replace("\n", " ") for one in report.measure_columns(summary)]
        blocks.append(self._page.DataTable(columns, report.measure_rows(summary), "Every measure, over all paths"))
        blocks.append(self._page.Prose("\n\n".join(report.measure_notes(summary))))
        names = summary["measures"]
        groups = [row for rows in report.group_rows(summary, names, self._level.groups) for row in rows]
        if groups:
            heading = ("mean over the paths of", "paths", *(report.MEASURES[column] for column in names))
            blocks.append(self._page.DataTable(heading, groups, "Every measure, by group of paths"))
        blocks += [self._page.Prose(one) for one in [study.left_out(run)] if one]
        left = len(summary["groups"]["class"]) - self._level.groups
        if left > 0:
            blocks.append(self._page.Prose(f"And {left} more classes: summary.json in the run folder lists them all."))
        tests = [row for rows in report.test_rows(summary, MOST_TESTS, MOST_TESTS) for row in rows]
        if tests:
            columns = [one.replace("\n", " ") for one in report.test_columns(summary)]
            left = len(summary["tests"]) - len(tests)
            note = f" These are the clearest of each kind; summary.json lists {left} more." if left > 0 else ""
            table = self._page.DataTable(columns, tests, "How far groups of paths differ")
            blocks.append(
                self._page.Disclosure(
                    "Tests: how far groups of paths differ", [table, self._page.Prose(report.TESTS_NOTE + note)]
                )
            )
        return blocks

    # ---- runs compared

    def _compared(self) -> list[page.Block]:
        found = self._compares
        blocks: list[page.Block] = [self._page.Prose(notice, "warning") for notice in found.notices]
        blocks.append(self._page.Prose(self._how_compared(found)))
        drawn = _comparing(found, self._detail)
        blocks.append(self._page.Figures(drawn, 2))
        if 1 < len(found.runs) <= compare.MOST_SIDE_BY_SIDE:
            columns, rows = compare.distances(found)
            table = self._page.DataTable(columns, rows, "How far the runs' distributions over paths differ")
            note = (
                "The distance is that of Kolmogorov and Smirnov: the largest difference of two distribution functions, "
                "0 if they are equal and 1 if they do not overlap."
            )
            blocks += [table, self._page.Prose(note)]
        return blocks

    def _how_compared(self, found: Comparison) -> str:
        runs = [named.run for named in found.runs]
        if found.against is None:
            text = "The runs stand side by side."
            if not self._asked:
                text = (
                    "The networks differ in none of the numbers that runs are compared against unless --against names "
                    "one, so the runs stand side by side."
                )
        else:
            places = len(np.unique(found.x))
            text = (
                f"{len(runs)} {study.plural(len(runs), 'run')} with {places} different "
                f"{study.plural(places, 'value')} of: {found.label}. --against chooses another."
            )
        different = compare.differing(runs)
        if different:
            text += (
                f" The runs cannot be compared path by path, since they differ in this: {', '.join(different)}. Part "
                "of what is seen may be due to that, not to the networks."
            )
        else:
            text += (
                " All runs walked the same paths around the same samples, so that they can be compared path by path."
            )
        return text

    # ---- single runs

    def _distributed(self, named: Named) -> list[page.Block]:
        blocks: list[page.Block] = []
        for heading, drawn in _distributions(named.run, _prefix(self._named, named), self._detail):
            whose = heading if self._single else f"{named.label}: {heading[:1].lower()}{heading[1:]}"
            first = not blocks and named in self._detailed[:2]
            blocks.append(self._page.Disclosure(whose, [self._page.Figures(drawn, 2)], open=first))
        return blocks

    def _bent(self, named: Named) -> list[page.Block]:
        blocks: list[page.Block] = []
        for columns, drawn in _bends(named.run, _prefix(self._named, named), self._detail):
            if drawn:
                blocks.append(self._page.Figures(drawn, 2 if columns == 2 else 1))
        layers = Layers.of(named.run)
        if named.run.done and compare.walked(named.run) == "partial":
            blocks.append(
                self._page.Prose(
                    "Where along the paths units switch, and which units never do, is not shown: only parts of the "
                    "paths were walked, and what was not walked would look like what does not switch."
                )
            )
        else:
            blocks += [self._page.Prose(one) for one in [study.without_place(named.run, layers)] if one]
        if blocks and not layers.ordered:
            blocks.append(
                self._page.Prose("Which layer comes first was not recorded: layers are in the order of their switches.")
            )
        return blocks

    def _extreme(self, named: Named) -> list[page.Block]:
        run = named.run
        if not run.exhibits:
            return []
        most = max(MOST_EXHIBITS // sum(bool(one.run.exhibits) for one in self._detailed), 2)
        shown = sorted(run.exhibits, key=lambda one: one.rank)[:most]
        shown = [one for one in run.exhibits if one in shown]
        measures = [one for one in MEASURES if one.key != "mean-deviation"]
        columns = ("path", "deviation", "sample", "regions", *(one.title for one in measures), "decision changes")
        rows = []
        for exhibit in shown:
            figures = (report.short(_number(run, column.exact, exhibit)) for column in measures)
            regions, changes = (str(int(run.paths[key][exhibit.position])) for key in ("regions", "decision_changes"))
            rows.append((str(exhibit.path), _extremity(exhibit), _sample(run, exhibit), regions, *figures, changes))
        blocks: list[page.Block] = [
            self._page.Prose(
                "Of these paths every region was kept. Open one to see the outputs along it, which layer's units "
                "switch where, and how wide the regions are. Deviation is from a straight line between the ends of "
                "each segment."
            ),
            self._page.DataTable(columns, rows, "The paths whose outputs deviate most and least"),
        ]
        left = len(run.exhibits) - len(shown)
        if left:
            blocks.append(self._page.Prose(f"{left} more are in the run folder, less extreme; a page has no room."))
        total = sum(min(len(one.run.exhibits), most) for one in self._detailed)
        for exhibit in shown:
            blocks.append(self._exhibit(named, exhibit, self._level.regions // total, first=exhibit is shown[0]))
        return blocks

    def _exhibit(self, named: Named, exhibit: Exhibit, room: int, *, first: bool) -> page.Block:
        run = named.run
        summary = f"Path {exhibit.path}, {_extremity(exhibit)} deviation"
        sample = _sample(run, exhibit)
        if sample:
            summary += f": {sample}"
        prefix = _prefix(self._named, named)
        data = _walked(run, exhibit)
        views = list(_views())
        drawn: Figure | None = None
        # The first of them that fits: each is smaller than the one before.
        low, high = 0, len(views)
        while low < high:
            middle = (low + high) // 2
            tried = _view(data, exhibit, prefix, *views[middle])
            if self._page.size(tried) <= room:
                drawn, high = tried, middle
            else:
                low = middle + 1
        if drawn is not None:
            opened = first and named is self._detailed[0]
            return self._page.Disclosure(summary, [self._page.Figures([drawn])], open=opened)
        text = "This path takes more room than there is on the page. lronnx report --png DIR draws it."
        return self._page.Disclosure(summary, [self._page.Prose(text)])

    # ---- how to make it again

    def _again(self) -> list[page.Block]:
        commands: dict[str, None] = {}
        unknown = []
        for named in self._named:
            command = named.run.manifest.get("chosen", {}).get("command")
            if command:
                commands[str(command)] = None
            else:
                unknown.append(named.label)
        blocks: list[page.Block] = []
        if commands:
            blocks += [
                self._page.Prose("The runs. The same command goes on with a run that is not finished:"),
                self._page.Code("\n".join(commands)),
            ]
        if unknown:
            blocks.append(self._page.Prose(f"The command was not recorded of {compare.listed(unknown)}."))
        if self._command:
            blocks += [self._page.Prose("This page:"), self._page.Code(self._command)]
        blocks.append(
            self._page.Prose(f"Made by lronnx {__version__}. It needs no network: all of it is in this file.")
        )
        return blocks


def _number(run: Run, column: str, exhibit: Exhibit) -> float | None:
    figure = float(run.paths[column][exhibit.position])
    return figure if math.isfinite(figure) else None


def _extremity(exhibit: Exhibit) -> str:
    which = "most" if exhibit.most else "least"
    return which if exhibit.rank == 0 else f"{_ordinal(exhibit.rank + 1)} {which}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _sample(run: Run, exhibit: Exhibit) -> str:
    return study.sample_text(run, exhibit.position)


def _run_table(named: Sequence[Named]) -> page.DataTable:
    """A row for each run; columns of which nobody knows anything are left out."""
    from lronnx.plot import page

    columns: dict[str, list[str]] = {}
    for one in named:
        run = one.run
        known = compare.facts(run)
        errors = compare.errors(run)
        check = run.summary["totals"]["self_check"]
        layers = run.network.get("switching_nodes")
        cells = {
            "run": one.label,
            "model": run.model,
            "SHA-256": str(run.study.get("model", {}).get("sha256", ""))[:12],
            "units": _whole(known.get("units")),
            "layers": "" if layers is None else str(len(layers)),
            "width": _whole(known.get("width")),
            "epoch": _whole(known.get("epoch")),
            "parameters": _whole(known.get("parameters")),
            "label noise": report.short(known["label_noise"]) if "label_noise" in known else "",
            **{label: f"{errors[label]:.4g} %" if label in errors else "" for label in compare.ERRORS.values()},
            "paths": str(run.done) if run.done == run.total else f"{run.done} of {run.total}",
            "kind": compare.walked_text(run),
            "self-check": "" if not run.done else ("ok" if check["ok"] else "FAILED"),
            "seconds": "" if run.seconds is None else report.short(run.seconds),
        }
        for column, cell in cells.items():
            columns.setdefault(column, []).append(cell)
    columns = {column: cells for column, cells in columns.items() if any(cells)}
    if len(set(columns["kind"])) == 1 and "exact" in columns["kind"]:
        del columns["kind"]
    caption = "The runs. Seconds are those of all walks, added up."
    if len(named) <= MOST_BESIDE:
        labels = columns.pop("run")
        rows = [(column, *cells) for column, cells in columns.items()]
        return page.DataTable(("run", *labels), rows, caption, sorts=False)
    return page.DataTable(tuple(columns), list(zip(*columns.values(), strict=True)), caption)


def _whole(number: float | None) -> str:
    return "" if number is None else f"{number:.10g}"


_HIDDEN = (inputs.SCALE_KEY, inputs.MEAN_KEY, inputs.STD_KEY, segment.LABELS_KEY)
"""Metadata that are told otherwise, or that are too long."""


def _facts(run: Run) -> list[tuple[str, str]]:
    """What was run, all of it."""
    told = run.study
    model, walk = told.get("model", {}), told.get("walk", {})
    rows = [("run folder", run.shown), ("model", run.model), ("SHA-256", str(model.get("sha256", "")))]
    if model.get("weights_sha256"):
        rows.append(("SHA-256 of its weights", str(model["weights_sha256"])))
    if model:
        shape = report.shape_text(model.get("input_shape"))
        rows.append(("analysed", f"input {model.get('input')} ({shape}), output {model.get('output')}"))
    if model.get("fixed_inputs"):
        rows.append(("inputs that were held", ", ".join(map(str, model["fixed_inputs"]))))
    nodes = run.network.get("switching_nodes")
    if nodes is not None:
        depth = int(compare.facts(run)["depth"])
        rows.append(
            (
                "network",
                f"{run.network['units']:,} units in {len(nodes)} switching {study.plural(len(nodes), 'layer')} "
                f"({depth} on the longest way), {run.network['outputs']} "
                f"{study.plural(int(run.network['outputs']), 'output')}",
            )
        )
    else:
        rows.append(("network", "not recorded in this run"))
    rows += [
        (key.removeprefix(compare.PREFIX).replace("_", " "), text)
        for key, text in run.metadata.items()
        if key.startswith(compare.PREFIX) and key not in _HIDDEN
    ]
    rows += [("notice", str(notice)) for notice in run.network.get("notices", [])]
    rows += about_data(run)
    rows.append(("engine", f"{walk.get('engine', 'unknown')}, {walk.get('precision', 'unknown')} precision"))
    for key, text in (
        ("max_regions", "at most {} regions of a segment"),
        ("max_seconds", "at most {} seconds for a segment"),
    ):
        if walk.get(key) is not None:
            rows.append(("budget", text.format(walk[key])))
    if walk.get("estimate") is not None:
        rows.append(("ESTIMATE", f"{100 * walk['estimate']:.4g} % of every segment was walked"))
    rows.append(("seed of the study", str(walk.get("seed", 0))))
    check = run.summary["totals"]["self_check"]
    if run.done:
        state = "ok" if check["ok"] else "FAILED"
        rows.append(
            ("self-check", f"{state}; outputs within {report.number(check['max_value_error'])} of the model's own")
        )
    rows.append(("paths that are done", f"{run.done:,} of {run.total:,}"))
    if run.seconds is not None and run.done:
        where = f" on {' and '.join(run.devices)}" if run.devices else ""
        rows.append(("time", f"{report.short(run.seconds)} seconds{where}, all walks added up"))
    for session in run.manifest.get("sessions", []):
        about: Mapping[str, Any] = session.get("environment", {})
        versions = ", ".join(f"{name} {about[name]}" for name in _VERSIONS if name in about)
        rows.append(("begun", f"{session.get('begun')}: {versions}; {about.get('system', 'unknown system')}"))
    return rows


_VERSIONS = ("lronnx", "onnxruntime", "numpy", "pyarrow", "python")


def about_data(run: Run) -> list[tuple[str, str]]:
    """Data, paths and preprocessing, as terms with what is said about each."""
    about = run.study.get("paths", {})
    data = about.get("data", {})
    rows = [("data", str(run.manifest.get("chosen", {}).get("data", "unknown")))]
    if data:
        samples = ", ".join(f"{count} {split}".strip() for split, count in data.get("samples", {}).items())
        rows.append(("samples", f"{samples} ({data.get('kind', 'unknown')}, SHA-256 {data.get('sha256', 'unknown')})"))
    elif "sha256" in about:
        rows.append(("SHA-256 of the data", str(about["sha256"])))
    options = [f"{key.replace('_', ' ')} {value}" for key, value in about.items() if _is_option(key, value)]
    rows.append(("paths", ", ".join([str(about.get("family", "unknown")), *options])))
    how = about.get("preprocessing")
    if how:
        scale = how.get("scale")
        formula = (
            "none: the data are inputs"
            if scale is None
            else f"(pixel * {scale:.6g} - {_plainly(how['mean'])}) / {_plainly(how['std'])}"
        )
        rows.append(("preprocessing", "; ".join(filter(None, (formula, _layout(how))))))
    return rows


def _layout(how: Mapping[str, Any]) -> str:
    """Where the input has its axes, and whose input it is: of a comparison's other networks, the first one's."""
    axes = how.get("layout") or ""
    if "as_input_of" not in how:
        return f"input is {axes}" if axes else ""
    whose = f"the network of SHA-256 {str(how['as_input_of'])[:12]}, the first of a comparison, whose input"
    return f"for {whose}{f' is {axes} and' if axes else ''} was mapped to this one's"


def _is_option(key: str, value: Any) -> bool:
    return key not in ("family", "sha256", "data", "preprocessing") and isinstance(value, int | float | str)


def _plainly(numbers: Sequence[float]) -> str:
    return f"{numbers[0]:.6g}" if len(numbers) == 1 else f"[{', '.join(f'{one:.6g}' for one in numbers)}]"
