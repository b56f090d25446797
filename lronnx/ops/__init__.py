"""The operator table: everything lronnx knows about each operator stands in one record, here and nowhere else."""

from lronnx.ops import affine, moving, switching, windows
from lronnx.ops.record import TABLE, Facts, Kind, Lookup, OpRule, Sample, Verdict
from lronnx.ops.switching import QUANTIZED

__all__ = [
    "QUANTIZED",
    "TABLE",
    "Facts",
    "Kind",
    "Lookup",
    "OpRule",
    "Sample",
    "Verdict",
    "affine",
    "moving",
    "switching",
    "windows",
]
