"""The release that decides, kept in the data folder: what a process begins with while its topic can't be read."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar
from uuid import uuid4

import structlog

from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.errors import InvalidMessage
from ibook.messages import ModelReleased, PolicyReleased

FOLDER = "in_force"
"""Below the data folder. All processes on it keep their release in the same file: the newest release wins."""
PART_SECONDS = 60.0
"""A file that was being written for longer was left behind by a process that was killed."""

Kept = TypeVar("Kept", ModelReleased, PolicyReleased)

log = structlog.get_logger(__name__)


class KeptRelease(Generic[Kept]):
    """One release in one file. One thread at a time."""

    def __init__(self, data_dir: Path, name: str, kind: type[Kept]) -> None:
        self._path = data_dir / FOLDER / f"{name}.json"
        self._kind: type[Kept] = kind
        self._done: tuple[str, ...] | None = None
        """What was asked for last and is done, by message id."""
        self._told = ""

    def begin(self) -> Kept | None:
        """What was kept last, as `read` gives it; removes what processes that were killed left half written."""
        for part in self._path.parent.glob(f"{self._path.name}.*"):
            try:
                if time.time() - part.stat().st_mtime > PART_SECONDS:
                    part.unlink()
            except OSError as error:  # another process was quicker, or the disk takes nothing
                log.warning("half a release can't be removed", why=str(error))
        return self.read()

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

    def keep_deciding(self, release: Kept | None, counting: Sequence[Kept]) -> None:
        """Keep the one of those that count, newest first, that decides here; none when none counts.

        A newer one that others on this folder could use, and kept, stays.
        """
        if release in counting:
            self.keep(release, counting[: counting.index(release)])
        elif not counting:
            self.keep(None)

    def keep(self, release: Kept | None, newer: Sequence[Kept] = ()) -> None:
        """Keep this one, or none at all, unless one of the `newer` is there.

        Writes what has changed; what could not be written is tried next time.
        """
        asked = tuple(each.message_id for each in (release, *newer) if each)
        if asked == self._done:
            return
        there = self.read() if newer else None
        try:
            if there is None or there not in (release, *newer):
                self._write(release)
        except OSError as error:
            self._say(f"{self._path.name} can't be written: {error}")
            return
        self._done, self._told = asked, ""

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
