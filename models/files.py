"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file under another name, then give it its own, so that nobody ever finds a part of it.

    Of several processes or threads that write the same file, on one machine or in a shared folder, the last one wins.
    The permissions are those of any file that is created.

    ``content``: the bytes, or what writes them to the file that it is given.

    Raises:
        OSError: it cannot be written; what was there before is still there.
        Exception: whatever ``content`` raises, likewise.
    """
    # Not tempfile's, whose files are for their owner alone whatever the umask says.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)  # what people know of
        raise
    finally:
        temporary.unlink(missing_ok=True)
