"""Them or us? One message that makes our code fail is set aside; one after another, or many, mean that it is broken."""

from collections import deque

from ibook.errors import OwnCodeFails

WINDOW = 200
"""The latest different messages, among which the failed ones are counted."""
MANY = 10
"""Of the window: more that failed are hardly a few messages' own fault any more."""


class OwnFailures:
    """Counts the messages our own code failed on, in a row and among the latest. What a publisher broke is no matter.

    In a row is found at once; the share finds a bug that only some messages bring out, which one good message among
    the bad would hide for ever.
    """

    def __init__(self, limit: int, share: float = 0.2) -> None:
        self._limit = limit
        self._share = share
        self._in_a_row: set[str] = set()
        self._latest: deque[str | None] = deque()
        """Names of those that failed, None for one that went well; the newest last."""
        self._failed: set[str] = set()
        """The names among them."""

    def failed(self, name: str, why: str) -> None:
        """Our code failed on this message; the same one twice is one. Raises OwnCodeFails when it is broken."""
        self._in_a_row.add(name)
        if name not in self._failed:
            self._failed.add(name)
            self._note(name)
        if len(self._in_a_row) >= self._limit:
            raise _broken(f"{len(self._in_a_row)} different messages in a row", name, why)
        if len(self._failed) > self._share * WINDOW:
            raise _broken(f"{len(self._failed)} of the last {len(self._latest)} messages", name, why)

    def worked(self) -> None:
        """A message went well."""
        self._in_a_row.clear()
        self._note(None)

    @property
    def in_a_row(self) -> int:
        """How many failed since one went well."""
        return len(self._in_a_row)

    @property
    def are_many(self) -> bool:
        """Whether so many of the latest failed that one that goes well shows nothing."""
        return len(self._failed) > MANY

    def _note(self, name: str | None) -> None:
        self._latest.append(name)
        if len(self._latest) > WINDOW:
            gone = self._latest.popleft()
            if gone is not None:
                self._failed.discard(gone)


def _broken(how_many: str, name: str, why: str) -> OwnCodeFails:
    return OwnCodeFails(
        f"Our own code failed on {how_many}, at last on {name} ({why}). "
        f"Mend the code or go back to the version before it: this batch is not acknowledged."
    )
