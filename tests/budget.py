"""How much the tests do that could do any amount: random cases, kills at random moments."""

from __future__ import annotations

import os

VARIABLE = "LRONNX_TESTS_SLOW"
"""Set by ``pytest --slow``, in every process of it."""


def examples(count: int) -> int:
    """Of how many random cases a test has with ``--slow``, how many it has without."""
    return count if os.environ.get(VARIABLE) else max(count * 3 // 5, min(count, 8))
