"""The release that decides, kept in the data folder: what a process begins with while its topic can't be read."""

import os
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

import structlog

from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.errors import InvalidMessage
from ibook.messages import ModelReleased, PolicyReleased

FOLDER = "in_force"
"""Below the data folder. All processes on it keep their release in the same file: the newest to change wins."""

Kept = TypeVar("Kept", ModelReleased, PolicyReleased)

log = structlog.get_logger(__name__)


class KeptRelease(Generic[Kept]):
    """One release in one file. One thread at a time."""

    def __init__(self, data_dir: Path, name: str, kind: type[Kept]) -> None:
        self._path = data_dir / FOLDER / f"{name}.json"
        self._kind: type[Kept] = kind
        self._is_written = False
        self._written: Kept | None = None
        self._told = ""

    def read(self) -> Kept | None:
        """What was kept last; None when nothing was, or it can't be read any more."""
        try:
            release: Kept = decode(self._path.read_bytes(), self._kind, max_bytes=MAX_OWN_BYTES)
        except FileNotFoundError:
            return None
        except (OSError, InvalidMessage) as error:
            self._say(f"{self._path.name} can't be read: {error}")
            return None
        return release

    def keep(self, release: Kept | None) -> None:
        """Keep this one, or none at all. Writes what has changed; what could not be written is tried next time."""
        if self._is_written and release == self._written:
            return
        try:
            self._write(release)
        except OSError as error:
            self._say(f"{self._path.name} can't be written: {error}")
            return
        self._is_written, self._written, self._told = True, release, ""

    def _write(self, release: Kept | None) -> None:
        if release is None:
            self._path.unlink(missing_ok=True)
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_name(f"{self._path.name}.{uuid4().hex}")
        try:
            with part.open("wb") as file:
                file.write(encode(release))
                file.flush()
                os.fsync(file.fileno())  # or a power cut leaves the name of the new file with nothing in it
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)

    def _say(self, why: str) -> None:
        """Once for each reason: a worker asks twice a second."""
        if why != self._told:
            log.warning("release not kept", why=why)
            self._told = why
