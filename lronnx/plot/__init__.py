"""Pictures of what was found: data (:mod:`~lronnx.plot.figures`), and who draws them.

A figure is described once, independent of how it is drawn: :mod:`~lronnx.plot.segment` describes a walk,
:mod:`~lronnx.plot.study` what a study found, :mod:`~lronnx.plot.network` a network, :mod:`~lronnx.plot.pairs` how
networks compare. :mod:`~lronnx.plot.still` draws figures with matplotlib, as PNG or SVG; :mod:`~lronnx.plot.page` makes
interactive pages of them with Plotly. Only these two import the drawing libraries, which are the extra
``lronnx[plot]``.
"""

from __future__ import annotations

import importlib
import importlib.util

from lronnx.errors import InputError

_DISTRIBUTIONS = {"PIL": "pillow"}
"""What is installed under another name than it is imported by."""
_PARTS = {"PIL": "PIL.Image", "matplotlib": "matplotlib.figure", "plotly": "plotly.offline"}
"""The part of a package that is imported to see whether it works: what is used, with what it has to load."""


def check_installed(*modules: str) -> None:
    """Import these modules, by their import names; raise InputError, which says what to install, if one is missing.

    So it does for one that is there but cannot be imported, whatever that raises: half installed, or built for others.
    """
    missing = [_DISTRIBUTIONS.get(module, module) for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"pictures need {' and '.join(missing)}, not installed here: pip install 'lronnx[plot]'")
    # Pillow first: the others load it, too.
    for module in sorted(modules):
        name = _DISTRIBUTIONS.get(module, module)
        try:
            importlib.import_module(_PARTS.get(module, module))
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{name} is installed but cannot be imported: {reason}; pip install --force-reinstall {name}"
            ) from error


FORMS = {".png": ("matplotlib", "PIL"), ".svg": ("matplotlib", "PIL"), ".html": ("plotly", "PIL")}
"""What a file's suffix says about how it is drawn, and the modules that this needs."""


def check_drawable(suffix: str, what: str) -> None:
    """Raise InputError if files with this suffix are not drawn, or not without something that is not installed.

    ``what``: what asks for it.
    """
    if suffix.lower() not in FORMS:
        raise InputError(f"{what}: a picture is a .png or .svg file, or an interactive page, .html")
    check_installed(*FORMS[suffix.lower()])
