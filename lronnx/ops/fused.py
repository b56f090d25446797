"""Nodes that onnxruntime fused when it saved an optimized model, taken apart into the plain nodes they stand for.

``act(conv(x, w, b) + z)`` and ``act(gemm(a, b, c))`` hide their activation in attributes. What is expanded here
never reaches the operator table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lronnx.graph import Attribute, Node, freeze

DOMAIN = "com.microsoft"
# Fused operator -> the plain one.
_PLAIN = {"FusedConv": "Conv", "FusedGemm": "Gemm"}
# What an activation's parameters are called where it is a node of its own, in the order of the fused attributes.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Elu": ("alpha",),
    "ThresholdedRelu": ("alpha",),
    "Clip": ("min", "max"),
}
_FUSED_ATTRIBUTES = ("activation_alpha", "activation_beta", "activation_gamma")
# From this opset on, Clip takes its bounds as operands.
_BOUNDS_ARE_OPERANDS = 11


def expand(node: Node, opset: int, fresh: Callable[[str], str]) -> tuple[Node, ...]:
    """The plain nodes that a fused node stands for, in order; the node itself if it is not a fused one.

    The last of them makes the fused node's output under its name and its label, so that units are still told
    by the node of the file. ``fresh`` makes a name that is not in use from a hint.
    """
    if node.domain != DOMAIN or node.op_type not in _PLAIN:
        return (node,)
    attributes = dict(node.attributes)
    activation = str(attributes.pop("activation", ""))
    parameters = [float(v) for v in np.atleast_1d(np.asarray(attributes.pop("activation_params", ()))).ravel()]
    parameters += [float(np.asarray(attributes.pop(key))) for key in _FUSED_ATTRIBUTES if key in attributes]
    parts: list[Node] = []

    def add(op_type: str, inputs: tuple[str, ...], last: bool, given: Mapping[str, Attribute]) -> str:
        hint = f"{node.outputs[0]}/{op_type}"
        made = node.outputs[0] if last else fresh(hint)
        name = node.name if last or not node.name else f"{node.name}/{op_type}"
        label = node.label if last else made
        parts.append(Node(node.index, name, label, "", op_type, inputs, (made,), freeze(given)))
        return made

    added = node.input(3) if node.op_type == "FusedConv" else ""
    current = add(_PLAIN[node.op_type], node.inputs[:3], not (added or activation), attributes)
    if added:
        current = add("Add", (current, added), not activation, {})
    if not activation:
        return tuple(parts)
    named: dict[str, Attribute] = dict(zip(_PARAMETERS.get(activation, ()), parameters, strict=False))
    if activation == "Clip" and opset >= _BOUNDS_ARE_OPERANDS:
        bounds = tuple(
            add("Constant", (), False, {"value": np.asarray(bound, dtype=np.float32)}) for bound in named.values()
        )
        add(activation, (current, *bounds), True, {})
    else:
        add(activation, (current,), True, named)
    return tuple(parts)
