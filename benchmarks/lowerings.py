"""Billions of operations per second of double-precision convolutions, by the direct formula, in every lowering.

Kernels of 3x3, stride 1, padding 1, as many channels out as in, on one core. Below each row of figures stands what the
calibrated model predicts; behind it, what the model chooses, that choice's share of the fastest, and the largest error
of all of them, relative to what the sums would be if nothing cancelled.
"""

from __future__ import annotations

import argparse

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

import lronnx
from lronnx import calibration, session
from lronnx.graph import Graph, Value
from lronnx.onnx_io import PROGRAM_OPSET, to_bytes
from lronnx.ops import lowering
from lronnx.ops.emitter import LANES, Emitter
from lronnx.ops.record import Lookup

SHAPES = ((6, 32), (16, 16), (64, 8), (64, 32), (128, 16), (256, 8), (512, 4))


def program_of(shape: lowering.Convolution, one: lowering.Lowering, weight: NDArray[np.float64]) -> Graph:
    e = Emitter("float64", (), {}, PROGRAM_OPSET, lambda node, arrays: [], Lookup({}, {}, set(), {}), lowering.Plan())
    made = e.rename(one.emit(e, "x", shape, weight, None), "y")
    sizes = {"x": (1, *shape.size, shape.channels), made: (1, *shape.out, shape.outputs)}
    inputs, outputs = (Value(name, "float64", (LANES, *size)) for name, size in sizes.items())
    return e.program("lowering", [inputs], [outputs], PROGRAM_OPSET)


def seconds(shape: lowering.Convolution, one: lowering.Lowering, lanes: int, budget: float) -> float:
    """Of one convolution of so many lanes."""
    program = program_of(shape, one, weights(shape))
    source, target = (1, *shape.size, shape.channels), (1, *shape.out, shape.outputs)
    return session.seconds_of(program, (lanes, *source), (lanes, *target), budget)


def weights(shape: lowering.Convolution) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal((shape.outputs, shape.channels, *shape.kernel))


def error(shape: lowering.Convolution, one: lowering.Lowering) -> float:
    """The largest error of one sample of an unstrided convolution, as a share of the largest sum of absolute values."""
    x, weight = np.random.default_rng(1).standard_normal((*shape.size, shape.channels)), weights(shape)
    runner = ort.InferenceSession(to_bytes(program_of(shape, one, weight)), providers=["CPUExecutionProvider"])
    found = runner.run(None, {"x": x[None, None]})[0][0, 0]
    padded = np.pad(x, (*shape.pads, (0, 0)))
    sums = np.zeros((2, *shape.out, shape.outputs))
    for i, j in np.ndindex(*shape.kernel):
        seen = padded[i : i + shape.out[0], j : j + shape.out[1]]
        sums += seen @ weight[:, :, i, j].T, abs(seen) @ abs(weight[:, :, i, j].T)
    return float(abs(found - sums[0]).max() / sums[1].max())


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
    both = (1, 1)
    shapes = [lowering.Convolution(1, c, c, (size,) * 2, (3, 3), both, both, (both, both), 1) for c, size in SHAPES]
    offered = {one.name: one for one in lowering.LOWERINGS if one.applies(shapes[0])}
    print("channels size ", *(f"{name:>10}" for name in offered), " chosen")
    for shape in shapes:
        channels, size = shape.channels, shape.size[0]
        work = 2e-9 * 9 * channels**2 * size**2 * given.lanes
        found = {name: work / seconds(shape, one, given.lanes, given.seconds) for name, one in offered.items()}
        told = {name: work / rates.predict(one.operations(shape, given.lanes)) for name, one in offered.items()}
        chosen = lowering.Plan(lambda: rates, given.lanes).choose(shape).name
        share = found[chosen] / max(found.values())
        wrong = max(error(shape, one) for one in offered.values())
        figures = (f"{found[name]:10.1f}" for name in offered)
        print(f"{channels:8} {size:4} ", *figures, f" {chosen} {share:.0%}, error {wrong:.0e}")
        print("              ", *(f"{told[name]:10.1f}" for name in offered), flush=True)


if __name__ == "__main__":
    main()
