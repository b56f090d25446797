"""Exact linear regions of exported piecewise-linear networks.

``load`` a network, ``walk`` a segment:

>>> import lronnx
>>> network = lronnx.load("resnet.onnx")  # doctest: +SKIP
>>> walk = network.walk(start, end)  # doctest: +SKIP
>>> walk.regions, walk.density, walk.absolute_deviation  # doctest: +SKIP
"""

from lronnx.errors import InputError, LronnxError, ModelError, NotPiecewiseAffineError, Refusal
from lronnx.graph import Graph, Node, Value
from lronnx.network import Inspection, Network, NodeReport, SwitchingNode, inspect, load
from lronnx.regions import DecisionChange, PathWalk, SelfCheck, Switch, Walk
from lronnx.walker import PatternError, Progress, Stop

__version__ = "0.1.0"

__all__ = [
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
    "PathWalk",
    "PatternError",
    "Progress",
    "Refusal",
    "SelfCheck",
    "Stop",
    "Switch",
    "SwitchingNode",
    "Value",
    "Walk",
    "__version__",
    "inspect",
    "load",
]
