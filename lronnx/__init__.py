"""Exact linear regions of exported piecewise-linear networks.

``load`` a network, ``walk`` a segment:

>>> import lronnx
>>> network = lronnx.load("resnet.onnx")  # doctest: +SKIP
>>> walk = network.walk(start, end)  # doctest: +SKIP
>>> walk.regions, walk.density, walk.absolute_deviation  # doctest: +SKIP

``compare`` two networks on the same paths:

>>> lronnx.compare("torch.onnx", "keras.onnx", [[start, end]]).verdict  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lronnx.comparison import PathComparison, Verdict
from lronnx.errors import InputError, LronnxError, ModelError, NotPiecewiseAffineError, Refusal
from lronnx.graph import Graph, Node, Value
from lronnx.network import Inspection, Network, NodeReport, SwitchingNode, inspect, load
from lronnx.regions import DecisionChange, PathWalk, SelfCheck, Switch, Walk
from lronnx.walker import PatternError, Progress, Stop

if TYPE_CHECKING:
    from lronnx.side_by_side import Comparison, compare

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "DecisionChange",
    "Graph",
    "InputError",
    "Inspection",
    "LronnxError",
    "ModelError",
    "Network",
    "Node",
    "NodeReport",
    "NotPiecewiseAffineError",
    "PathComparison",
    "PathWalk",
    "PatternError",
    "Progress",
    "Refusal",
    "SelfCheck",
    "Stop",
    "Switch",
    "SwitchingNode",
    "Value",
    "Verdict",
    "Walk",
    "__version__",
    "compare",
    "inspect",
    "load",
]


def __getattr__(name: str) -> Any:
    # Rows of comparisons are Arrow tables, whose import takes longer than many a walk.
    if name in ("Comparison", "compare"):
        from lronnx import side_by_side

        return getattr(side_by_side, name)
    raise AttributeError(f"module 'lronnx' has no attribute '{name}'")
