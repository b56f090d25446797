"""Pictures of what was found: data (:mod:`~lronnx.plot.figures`), and who draws them.

A figure is described once, independent of how it is drawn: :mod:`~lronnx.plot.segment` describes a walk,
:mod:`~lronnx.plot.study` what a study found, :mod:`~lronnx.plot.network` a network. :mod:`~lronnx.plot.still` draws
figures with matplotlib, as PNG or SVG; :mod:`~lronnx.plot.page` makes interactive pages of them with Plotly. Only these
two import the drawing libraries, which are the extra ``lronnx[plot]``.
"""

from __future__ import annotations

import importlib.util

from lronnx.errors import InputError

_DISTRIBUTIONS = {"PIL": "pillow"}
"""What is installed under another name than it is imported by."""


def check_installed(*modules: str) -> None:
    """Raise InputError, which says how to install them, if any of these modules, by their import names, is missing.

    Nothing is imported.
    """
    missing = [_DISTRIBUTIONS.get(module, module) for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"pictures need {' and '.join(missing)}, not installed here: pip install 'lronnx[plot]'")


FORMS = {".png": ("matplotlib", "PIL"), ".svg": ("matplotlib", "PIL"), ".html": ("plotly", "PIL")}
"""What a file's suffix says about how it is drawn, and the modules that this needs."""


def check_drawable(suffix: str, what: str) -> None:
    """Raise InputError if files with this suffix are not drawn, or not without something that is not installed.

    ``what``: what asks for it.
    """
    if suffix.lower() not in FORMS:
        raise InputError(f"{what}: a picture is a .png or .svg file, or an interactive page, .html")
    check_installed(*FORMS[suffix.lower()])
