"""The file that ``lronnx walk --plot`` writes: a still figure, or a page with the figure and what there is to say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lronnx import __version__, report, session
from lronnx.inputs import Pixels
from lronnx.plot import segment
from lronnx.plot.figures import Figure

if TYPE_CHECKING:
    from lronnx.network import Network
    from lronnx.regions import PathWalk

WIDTH = 7.0
"""Inches: a paper's page between its margins."""

MOST_ROWS = 200
"""Rows at most of a page's tables."""


class About(NamedTuple):
    """``title``: what was walked; ``analysed``: which input and output; ``command``: what repeats it."""

    title: str
    analysed: str
    command: str


def draw(
    suffix: str, path: PathWalk, network: Network, points: NDArray[Any], pixels: Pixels | None, about: About
) -> bytes:
    """The content of a file with this suffix (see :data:`lronnx.plot.FORMS`) about a finished walk.

    ``points``: the path's, (P, *sample). ``pixels``: how pixels became inputs. Needs the drawing libraries.
    """
    return drawn(suffix, describe(suffix, path, network, points, pixels), path, network, about)


def describe(
    suffix: str, path: PathWalk, network: Network, points: NDArray[Any], pixels: Pixels | None
) -> tuple[segment.SegmentData, Figure]:
    """The first half of :func:`draw`: the path as data, and its figure in the detail that the file has."""
    labels = segment.class_labels(network.metadata, network.outputs)
    data = segment.from_walk(path, segment.Nodes.of(network), labels=labels, points=points, pixels=pixels)
    # A page has the title above everything.
    title, detail = ("", segment.PAGE) if _is_page(suffix) else (segment.headline(data, network.name), segment.STILL)
    return data, segment.figure(data, name="walk", title=title, detail=detail)


def drawn(
    suffix: str, described: tuple[segment.SegmentData, Figure], path: PathWalk, network: Network, about: About
) -> bytes:
    """The second half: the file's content."""
    data, figure = described
    if _is_page(suffix):
        return _page(data, figure, path, network, about)
    from lronnx.plot import still

    return still.draw(figure, "svg" if suffix.lower() == ".svg" else "png", width=WIDTH)


def _count(number: int) -> str:
    """As the figure's texts have it."""
    return f"{number:,}"


def _is_page(suffix: str) -> bool:
    return suffix.lower() == ".html"


def _page(data: segment.SegmentData, figure: Figure, path: PathWalk, network: Network, about: About) -> bytes:
    from lronnx.plot import page

    # The figure says the same in its caption, below the fold.
    shown: list[page.Block] = [page.Prose(f"{warning}.", "warning") for warning in data.warnings]
    shown.append(page.Figures([replace(figure, title="")]))
    names = data.names if data.named else None
    figures = [(name, str(number), meaning) for name, number, meaning in report.walk_figures(path, _count, names)]
    numbers: list[page.Block] = [page.DataTable(("figure", "value", "meaning"), figures, sorts=False)]
    sections = [page.Section("Along the way", shown), page.Section("In numbers", numbers)]
    operators = {node.label: node.op_type for node in network.graph.nodes}
    if path.switches_by_node:
        rows = report.node_rows(path.switches_by_node, path.switch_count, operators, MOST_ROWS, _count)
        sections.append(page.Section("Which nodes switch", [page.DataTable(report.NODE_COLUMNS, rows)]))
    if len(path.segments) > 1:
        rest = len(path.segments) - MOST_ROWS
        caption = f"and {rest:,} more segments" if rest > 0 else ""
        table = page.DataTable(report.SEGMENT_COLUMNS, report.segment_rows(path, MOST_ROWS, _count), caption)
        sections.append(page.Section("Segments", [table]))
    facts = [
        ("model", network.name),
        ("SHA-256", network.sha256),
        ("walked", about.title),
        ("analysed", about.analysed),
        ("engine", f"{path.engine}, {path.precision} precision, on {path.device}"),
        ("versions", f"lronnx {__version__}, onnxruntime {session.RUNTIME_VERSION}, numpy {np.__version__}"),
    ]
    facts += [("notice", notice) for notice in network.notices]
    sections.append(page.Section("How it was made", [page.Facts(facts), page.Code(about.command)]))
    return page.render(segment.headline(data, network.name), sections, subtitle=about.analysed)
