"""Billions of operations per second of double-precision convolutions, by the direct formula, in every lowering.

Kernels of 3x3, stride 1, padding 1, as many channels out as in, on one core. Below each row of figures stands what the
calibrated model predicts; the last columns are what it chooses, and that choice's share of the fastest.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnxruntime as ort

import lronnx
from lronnx import calibration, session
from lronnx.graph import Value
from lronnx.onnx_io import PROGRAM_OPSET
from lronnx.ops import lowering
from lronnx.ops.emitter import LANES, Emitter
from lronnx.ops.record import Lookup

SHAPES = ((6, 32), (16, 16), (64, 8), (64, 32), (128, 16), (256, 8), (512, 4))


def seconds(shape: lowering.Convolution, one: lowering.Lowering, lanes: int, budget: float) -> float:
    """Of one convolution of so many lanes."""
    weight = np.random.default_rng(0).standard_normal((shape.outputs, shape.channels, *shape.kernel))
    e = Emitter("float64", (), {}, PROGRAM_OPSET, lambda node, arrays: [], Lookup({}, {}, set(), {}), lowering.Plan())
    made = e.rename(one.emit(e, "x", shape, weight, None), "y")
    source, target = (1, *shape.size, shape.channels), (1, *shape.out, shape.outputs)
    inputs, outputs = Value("x", "float64", (LANES, *source)), Value(made, "float64", (LANES, *target))
    program = e.program("lowering", [inputs], [outputs], PROGRAM_OPSET)
    return session.seconds_of(program, (lanes, *source), (lanes, *target), budget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, default=lowering.USUAL_LANES)
    parser.add_argument("--seconds", type=float, default=0.3, help="to repeat each for; the best counts")
    parser.add_argument("--shipped", action="store_true", help="predict by the shipped rates, not by this machine's")
    given = parser.parse_args()
    rates = lowering.SHIPPED if given.shipped else calibration.measure()
    print(f"onnxruntime {ort.__version__}, lronnx {lronnx.__version__}, {given.lanes} lanes")
    for kind, numbers in rates.seconds.items():
        print(f"{kind:10}", *(f"{number:.2g}" for number in numbers))
    names = [one.name for one in lowering.LOWERINGS if one.operations is not None][1:7]
    print("channels size ", *(f"{name:>10}" for name in names))
    for channels, size in SHAPES:
        both = (1, 1)
        shape = lowering.Convolution(1, channels, channels, (size,) * 2, (3, 3), both, both, (both, both), 1)
        offered = {one.name: one for one in lowering.LOWERINGS if one.applies(shape)}
        work = 2e-9 * 9 * channels**2 * size**2 * given.lanes
        found = {name: work / seconds(shape, one, given.lanes, given.seconds) for name, one in offered.items()}
        told = {name: work / rates.predict(one.operations(shape, given.lanes)) for name, one in offered.items()}
        chosen = lowering.Plan(lambda: rates, given.lanes).choose(shape).name
        share = found[chosen] / max(found.values())
        print(f"{channels:8} {size:4} ", *(f"{found[name]:10.1f}" for name in names), f" {chosen} {share:.0%}")
        print("              ", *(f"{told[name]:10.1f}" for name in names), flush=True)


if __name__ == "__main__":
    main()
