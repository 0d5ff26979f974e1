"""Reading log files as they grow."""

from pathlib import Path


class LogTail:
    """The last `n_lines` of a file, then whatever is added to it, whole lines only."""

    def __init__(self, path: Path, n_lines: int) -> None:
        self.path = path
        self._offset = _start_of_last(path, n_lines)

    def new_lines(self) -> list[str]:
        """What was added since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace").splitlines()


def _start_of_last(path: Path, n_lines: int) -> int:
    """Offset at which the last lines begin; looks at the last MiB only."""
    if not path.exists():
        return 0
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - (1 << 20)))
        last = file.read().splitlines(keepends=True)[-n_lines:] if n_lines else []
    return size - sum(len(line) for line in last)
