"""Colours that colour-blind people tell apart, each for a light and for a dark background.

Series (outputs, groups, runs) have the colours of M. Okabe and K. Ito, "Color Universal Design" (2008), which are told
apart with every common kind of colour blindness. Layers are ordered, and so are their colours: from a map whose
lightness rises evenly (viridis, by S. van der Walt and N. Smith, CC0). A layer has the same colour wherever it is
shown: it depends on the layer's place among the network's switching nodes alone.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Color(NamedTuple):
    """``#rrggbb`` on a light and on a dark background."""

    light: str
    dark: str


INK = Color("#1b1f24", "#e6e9ee")
MUTED = Color("#5b6470", "#9aa4b2")
FAINT = Color("#d5dae1", "#3a424d")
BACKGROUND = Color("#ffffff", "#14181d")
SURFACE = Color("#f5f7f9", "#1d232a")
BAD = Color("#c0392b", "#ff7b6b")
"""What is refused or failed; never the only sign of it."""
GOOD = Color("#00795c", "#35c79a")

_SERIES = (
    Color("#0072b2", "#56b4e9"),
    Color("#d55e00", "#ff9248"),
    Color("#009e73", "#2fcf9f"),
    Color("#b3589a", "#e08fc4"),
    Color("#b07d00", "#f0c04a"),
    Color("#3a8fc7", "#9ad3f5"),
    Color("#5b6470", "#b6bfca"),
)

# viridis at eleven places: on light backgrounds without its brightest part, on dark ones without its darkest.
_LIGHT = ("#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#a5c93a")
_DARK = ("#7d5fc2", "#6f7fd0", "#5a96cf", "#45a9c0", "#3cb8ab", "#4cc48f", "#77d06b", "#a6da4b", "#d3e13a", "#fde725")


def series(position: int) -> Color:
    """The colour of one of several things without an order; after seven they repeat."""
    return _SERIES[position % len(_SERIES)]


SERIES = len(_SERIES)
"""How many colours of series there are."""


def layer(position: int, count: int) -> Color:
    """The colour of the switching node at ``position`` of ``count``, in the network's order."""
    share = position / max(count - 1, 1)
    return Color(_between(_LIGHT, share), _between(_DARK, share))


def text_on(fill: Color) -> Color:
    """Black or white, whichever is read better on ``fill``: by the contrast ratio of WCAG 2."""
    return Color(*("#ffffff" if _luminance(one) < _EVEN else "#000000" for one in fill))


# (1.05 / (L + 0.05)) and ((L + 0.05) / 0.05) are equal here.
_EVEN = math.sqrt(1.05 * 0.05) - 0.05


def _luminance(color: str) -> float:
    """The relative luminance of WCAG 2, 0 to 1."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _between(stops: tuple[str, ...], share: float) -> str:
    """The colour at ``share`` (0 to 1) of the way through ``stops``."""
    at = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    first = min(int(at), len(stops) - 2)
    parts = [(int(stops[first][i : i + 2], 16), int(stops[first + 1][i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * (at - first)):02x}" for a, b in parts)
