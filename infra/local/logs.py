"""Log files: kept from growing without end, and read as they grow."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

LARGEST_BYTES = 16 << 20
"""A larger log is put aside as `<name>.log.1`, in the place of the one before: at most twice this per process."""


def put_aside(log: Path, largest_bytes: int | None = None) -> bool:
    """Empty a log that is too large, keeping what it held as `<log>.1`; whether it was.

    Its process goes on writing into the same file, which it must have opened for appending. What it writes between
    the copy and the emptying is lost. On a full disk nothing is kept.
    """
    largest = LARGEST_BYTES if largest_bytes is None else largest_bytes
    try:
        if log.stat().st_size <= largest:
            return False
    except FileNotFoundError:
        return False
    aside = put_aside_name(log)
    try:
        shutil.copyfile(log, aside)
    except OSError:
        aside.unlink(missing_ok=True)
    os.truncate(log, 0)
    return True


def put_aside_name(log: Path) -> Path:
    """Where a log goes that became too large."""
    return log.with_name(log.name + ".1")


class LogTail:
    """The last `n_lines` of a file, then whatever is added to it, whole lines only."""

    def __init__(self, path: Path, n_lines: int) -> None:
        self.path = path
        self._offset = _start_of_last(path, n_lines)

    def new_lines(self) -> list[str]:
        """What was added since the last call."""
        if not self.path.exists():
            return []
        rest = b""
        with self.path.open("rb") as file:
            if self._offset > file.seek(0, os.SEEK_END):  # it was put aside and begins anew
                rest, self._offset = self._rest_put_aside(), 0
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return (rest + whole).decode(errors="replace").splitlines()

    def _rest_put_aside(self) -> bytes:
        with suppress(FileNotFoundError), put_aside_name(self.path).open("rb") as file:
            file.seek(self._offset)
            return file.read()
        return b""


def _start_of_last(path: Path, n_lines: int) -> int:
    """Offset at which the last lines begin; looks at the last MiB only."""
    if not path.exists():
        return 0
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 20)))
        last = file.read().splitlines(keepends=True)[-n_lines:] if n_lines else []
    return size - sum(len(line) for line in last)
