"""How the commands in models/ refuse what they cannot do."""

from __future__ import annotations

from click.testing import Result


def assert_refused(result: Result, *told: str) -> None:
    """Exit code 2, a sentence with all these parts, and no traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    text = " ".join(result.output.split())
    assert "Error: " in text
    assert "Traceback" not in text
    for part in told:
        assert part in text, text
