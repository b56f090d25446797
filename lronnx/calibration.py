"""How fast this machine multiplies and copies: measured once, kept in the user's cache.

What is measured is what :class:`lronnx.ops.lowering.Rates` holds, on one core, since a walk runs one single-threaded
session per core. It takes well under a second and a half. The environment variable LRONNX_CACHE_DIR names another
folder than the user's cache directory. A cache that cannot be read or written is done without.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import platformdirs

from lronnx import session
from lronnx.graph import Array
from lronnx.ops.lowering import MOVES, Operation, Rates, program_of

# Of what is measured and how: what was kept by another version is not read.
VERSION = 1
FOLDER_VARIABLE = "LRONNX_CACHE_DIR"
# Seconds that every operation is repeated for; the best of them counts, since others run beside.
BUDGET = 0.01

# From small to large in every dimension that a term depends on, the largest of each far beyond the caches.
SAMPLES = (
    Operation("product", 32, 16, 16),
    Operation("product", 4096, 8, 54),
    Operation("product", 4096, 16, 144),
    Operation("product", 1024, 64, 576),
    Operation("product", 128, 512, 1024),
    Operation("product", 64, 64, 64, 36),
    Operation("product", 128, 128, 128, 36),
    Operation("product", 32, 256, 256, 36),
    Operation("product", 65536, 16, 64),
    Operation("product", 12, 8192, 8, wide=True),
    Operation("product", 4, 32768, 6, wide=True),
    Operation("product", 12, 2048, 8, 12, wide=True),
    Operation("product", 24, 4096, 16, 24, wide=True),
    Operation("product", 6, 524288, 6, wide=True),
    *(
        Operation(kind, rows, columns)
        for kind in MOVES
        for rows, columns in ((64, 8), (4096, 4), (4096, 16), (1024, 128), (64, 2048), (65536, 64), (512, 8192))
    ),
)


def fit(seconds: dict[Operation, float]) -> Rates:
    """The rates, none of them negative, that explain measured times best, relative to each of these."""
    rates: dict[str, tuple[float, ...]] = {}
    for kind in ("product", *MOVES):
        measured = {one: taken for one, taken in seconds.items() if one.kind == kind}
        taken = np.array(list(measured.values()))
        rates[kind] = tuple(_nonnegative(np.array([one.terms for one in measured]) / taken[:, None]).tolist())
    return Rates(rates)


def _nonnegative(terms: Array) -> Array:
    """Rates >= 0 for which ``terms @ rates`` is closest to ones: the best of all choices of which are positive."""
    best, least = np.zeros(terms.shape[1]), float("inf")
    for chosen in range(1, 2 ** terms.shape[1]):
        used = [i for i in range(terms.shape[1]) if chosen >> i & 1]
        scale = np.linalg.norm(terms[:, used], axis=0)
        found = np.linalg.lstsq(terms[:, used] / np.where(scale > 0, scale, 1), np.ones(len(terms)))[0]
        error = float(np.linalg.norm(terms[:, used] @ (found / np.where(scale > 0, scale, 1)) - 1))
        if found.min() >= 0 and error < least:
            best, least = np.zeros(terms.shape[1]), error
            best[used] = found / np.where(scale > 0, scale, 1)
    return best


def measure() -> Rates:
    """Time every sample. Raises ModelError if onnxruntime fails."""
    return fit({one: session.seconds_of(*program_of(one), BUDGET) for one in SAMPLES})


@cache
def rates() -> Rates:
    """This machine's rates: from the cache, or else measured and kept there. Raises ModelError if onnxruntime fails."""
    key = _key()
    path = _folder() / f"calibration-{VERSION}.json"
    found = _read(path, key)
    if found is None:
        found = measure()
        _write(path, key, found)
    return found


def _folder() -> Path:
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else platformdirs.user_cache_path("lronnx", appauthor=False)


def _key() -> dict[str, str | int]:
    """What rates depend on."""
    return {
        "version": VERSION,
        "processor": _processor(),
        "cores": session.cores(),
        "onnxruntime": session.RUNTIME_VERSION,
    }


def _processor() -> str:
    """The processor's model, as exactly as the system tells it."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
        told = re.findall(r"^(?:model name|cpu family|model|stepping|flags)\s*: (.*)$", text, re.MULTILINE)
        if told:
            return " ".join([platform.machine(), *told])
    return f"{platform.machine()} {platform.processor()}"


def _read(path: Path, key: dict[str, str | int]) -> Rates | None:
    """The rates that were kept under this key; None if there are none that make sense."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        kept = {kind: tuple(float(rate) for rate in content["seconds"][kind]) for kind in ("product", *MOVES)}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    expected = {one.kind: len(one.terms) for one in SAMPLES}
    sound = all(len(kept[kind]) == count and np.isfinite(kept[kind]).all() for kind, count in expected.items())
    return Rates(kept) if sound and min(map(min, kept.values())) >= 0 else None


def _write(path: Path, key: dict[str, str | int], found: Rates) -> None:
    """Keep rates, all of the file or nothing; not being able to is no error."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"key": key, "seconds": found.seconds}, file)
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
