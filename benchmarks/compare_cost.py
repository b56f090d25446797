"""What comparing two networks costs, beside walking them: seconds of each part, for walks that are there already.

Two models along the points of a file, as ``lronnx compare`` takes them; without models, two exports of the same weights
that tests keep. "twin" is the third walk, of the first network with rounded weights, which is needed only where double
precision does not explain what differs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from lronnx import inputs, matching, records
from lronnx.comparison import Verdict, compare_walks
from lronnx.side_by_side import aligned

KEPT = Path(__file__).parents[1] / "tests" / "interoperability"

_Made = TypeVar("_Made")


class Cost(NamedTuple):
    """Seconds of each part, and what came out."""

    first: float
    other: float
    twin: float
    compare: float
    rows: float
    breakpoints: tuple[int, int]
    verdict: Verdict


def timed(make: Callable[[], _Made]) -> tuple[_Made, float]:
    begin = time.perf_counter()
    made = make()
    return made, time.perf_counter() - begin


def measure(models: tuple[Path, Path], points: str, scale: str | None = None) -> Cost:
    """One comparison, part by part."""
    first, other = (one.network for one in matching.load_models(models))
    pixels = inputs.Pixels.choose(scale, None, None, first.metadata)
    path = inputs.read_points(first.input_shape, points=points, pixels=pixels)
    found = matching.match(first, other, probes=path)
    twin = first.rounded()
    mine, walked = timed(lambda: first.walk_path(path).segments)
    theirs, walked_other = timed(lambda: other.walk_path(found.points(path)).segments)
    rounded, walked_twin = timed(lambda: twin.walk_path(path).segments)
    # The other's twin is taken for the other itself: how it differs costs the same.
    twins = rounded, aligned(mine, theirs, found)
    compared, seconds = timed(
        lambda: compare_walks(
            mine,
            twins[1],
            nodes=(first.switching_nodes, other.switching_nodes),
            twin=lambda side, seed: twins[side],
            most_twins=1,
        )
    )
    _, rows = timed(lambda: (records.walked(0, mine, units=False), records.compared(0, {2: compared})))
    return Cost(walked, walked_other, walked_twin, seconds, rows, compared.breakpoints, compared.verdict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL", help="two models")
    parser.add_argument("--points", help="the path: .npy, .npz or file.npz:key")
    parser.add_argument("--scale", help="factor of pixels, for points of uint8")
    parser.add_argument("--repeat", type=int, default=3, help="how often to measure; medians are told")
    arguments = parser.parse_args()
    if len(arguments.models) not in (0, 2) or bool(arguments.models) != (arguments.points is not None):
        parser.error("give two models and --points, or nothing")
    models = arguments.models or [
        KEPT / f"cnn_{name}.onnx" for name in ("pytorch_torchscript-as-it-is", "keras_tf2onnx")
    ]
    points = arguments.points or f"{KEPT / 'points.npz'}:coloured_chw"
    costs = [measure((models[0], models[1]), points, arguments.scale) for _ in range(max(arguments.repeat, 1))]
    print(f"{costs[0].verdict}; breakpoints: {costs[0].breakpoints[0]} and {costs[0].breakpoints[1]}")
    for part in ("first", "other", "twin", "compare", "rows"):
        print(f"{part:8} {statistics.median(getattr(cost, part) for cost in costs):8.3f} s")


if __name__ == "__main__":
    main()
