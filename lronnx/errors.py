"""Every error that lronnx raises on purpose.

An error says what was wrong, where (node, file, option) and what to do. The command line prints the
message and exits with :attr:`LronnxError.exit_code`; nothing else decides exit codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lronnx.graph import Value


class LronnxError(Exception):
    """Base of all deliberate errors. Catch it to handle any of them."""

    exit_code = 2


class InputError(LronnxError):
    """A point, an option or a file that the caller gave does not fit. Recover by giving another one.

    ``open_input``: the network's input whose open sizes have to be given, if that is what is missing.
    """

    exit_code = 2

    def __init__(self, message: str, open_input: Value | None = None) -> None:
        self.open_input = open_input
        super().__init__(message)


class ModelError(LronnxError):
    """The file is not a valid ONNX model, or onnxruntime cannot run it. Recover by exporting it again."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Refusal:
    """One node that keeps a network from being piecewise affine.

    ``index`` is the node's position in topological order, ``name`` may be empty (many exporters
    write none), ``output`` is the first output tensor, which always exists and is unique.
    """

    index: int
    name: str
    op_type: str
    output: str
    reason: str

    def __str__(self) -> str:
        name = self.name or "(unnamed)"
        return f"#{self.index} {name} [{self.op_type}] -> {self.output}: {self.reason}"


class NotPiecewiseAffineError(LronnxError):
    """A valid model that is not piecewise affine; :attr:`refusals` names every offending node.

    Recover by cutting the model before these nodes (``--output NAME`` chooses another output), as :attr:`advice` tells.
    ``name``: that of the network's file, where it is one of several.
    """

    exit_code = 3

    def __init__(self, refusals: Sequence[Refusal], advice: str = "", name: str = "") -> None:
        self.refusals = tuple(refusals)
        self.advice = advice
        count, which = len(self.refusals), f" {name}" if name else ""
        lines = [f"the network{which} is not piecewise affine: {count} node{'s' if count != 1 else ''} refused"]
        lines += [f"  {refusal}" for refusal in self.refusals]
        if advice:
            lines.append(advice)
        super().__init__("\n".join(lines))
