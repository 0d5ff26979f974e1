"""Them or us? One message that makes our code fail is set aside; one after another means that our code is broken."""

from ibook.errors import OwnCodeFails


class OwnFailures:
    """Counts how many different messages in a row our own code failed on. What a publisher broke does not count."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._names: set[str] = set()

    def failed(self, name: str, why: str) -> None:
        """Our code failed on this message; the same one twice is one. Raises OwnCodeFails at the limit."""
        self._names.add(name)
        if len(self._names) >= self._limit:
            raise OwnCodeFails(
                f"Our own code failed on {len(self._names)} different messages in a row, at last on {name} ({why}). "
                f"Mend the code or go back to the version before it: this batch is not acknowledged."
            )

    def worked(self) -> None:
        """A message went well: what failed before it was that message's own fault."""
        self._names.clear()

    @property
    def in_a_row(self) -> int:
        """How many there are now."""
        return len(self._names)
