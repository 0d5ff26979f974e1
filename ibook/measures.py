"""What a state counts, and how finely: measures, conditions, and the hops of its tiles."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from ibook.entities import Fact

SECOND = 1_000_000
DAY_S = 86400
LIFETIME = 1 << 40
"""A window in seconds, longer than any other: all that ever happened."""

Operation = Literal["count", "sum", "sum_squares", "min", "max", "distinct", "last", "last_time", "first_time"]
MAX_SUM = (1 << 63) - 1
"""Sums stay here when they get so large, rather than fail to be encoded."""


@dataclass(frozen=True)
class Resolution:
    """Per level: hop of its tiles, longest window it serves, and how old its tiles grow; all in seconds.

    A horizon is the longest window plus room for what arrives late, and a multiple of the next level's hop, so that a
    level ends where a tile of the next one does. Each hop divides the next. States carry the name: other numbers need
    another name.
    """

    name: str
    hops_s: tuple[int, ...]
    windows_s: tuple[int, ...]
    horizons_s: tuple[int, ...]
    distinct_cap: int
    """Distinct values kept per tile; from so many on the smallest hashes stay (a theta sketch, free of order)."""

    def level_of(self, window_s: int) -> int:
        """The finest level that serves a window of so many seconds; the level for life above all others.

        >>> [FINE.level_of(window) for window in (5, 60, 600, 3600, 86400, LIFETIME)]
        [0, 0, 1, 2, 3, 5]
        """
        if window_s >= LIFETIME:
            return len(self.hops_s)
        longest = len(self.hops_s) - 1
        return next((level for level, served_s in enumerate(self.windows_s) if window_s <= served_s), longest)

    def hop_of(self, window_s: int) -> int:
        """By how many seconds a window's tail may be rounded; 0 for life."""
        level = self.level_of(window_s)
        return self.hops_s[level] if level < len(self.hops_s) else 0


_WINDOWS_S = (60, 600, 3600, DAY_S, 30 * DAY_S)
FINE = Resolution(
    "fine", (1, 10, 60, 1200, DAY_S // 2), _WINDOWS_S, (90, 780, 4800, 36 * 3600, 33 * DAY_S), distinct_cap=32
)  # fmt: skip
"""Hops of 1/60 of the window."""
COARSE = Resolution(
    "coarse", (5, 60, 300, 3600, DAY_S), _WINDOWS_S, (120, 900, 7200, 2 * DAY_S, 33 * DAY_S), distinct_cap=16
)  # fmt: skip
"""Hops of 1/10 to 1/30 of the window, and smaller sets: for entities so busy that every tile is filled."""


@dataclass(frozen=True)
class Where:
    """A condition on a number or an id of a fact; one that lacks it does not meet it."""

    field: str
    is_: Literal["<=", ">=", "=="]
    value: int | str

    def holds(self, fact: Fact) -> bool:
        """Whether the fact meets the condition."""
        found: int | str | None = fact.numbers.get(self.field, fact.ids.get(self.field))
        if found is None or isinstance(found, str) != isinstance(self.value, str):
            return False
        if self.is_ == "==":
            return found == self.value
        return found <= self.value if self.is_ == "<=" else found >= self.value  # type: ignore[operator]


@dataclass(frozen=True)
class Measure:
    """What a state keeps: an operation over facts of some kinds.

    `field` is a number of the fact for sums, extremes and last, an id for distinct. `longest_s` is the longest window
    that asks for it: older tiles drop it. `first_time` is kept for life, outside the tiles.
    """

    operation: Operation
    kinds: frozenset[str]
    field: str = ""
    where: tuple[Where, ...] = ()
    longest_s: int = 0

    @property
    def id(self) -> int:
        """What it measures, as 32 bits that no other declaration changes; its windows are not part of it."""
        described = (self.operation, sorted(self.kinds), self.field, [(w.field, w.is_, w.value) for w in self.where])
        return hash32(repr(described))


def combine(operation: Operation, old: int | None, new: int) -> int:
    """Two values of one measure as one."""
    if old is None:
        return new
    if operation in ("max", "last_time"):
        return max(old, new)
    return min(old, new) if operation == "min" else bounded(old + new)


def bounded(value: int) -> int:
    """The value, or the nearest that can be encoded."""
    return value if -MAX_SUM <= value <= MAX_SUM else max(-MAX_SUM, min(value, MAX_SUM))


@lru_cache(maxsize=65_536)
def hash32(value: str) -> int:
    """A fixed 32-bit hash: the same on any machine, unlike Python's own."""
    return int.from_bytes(blake2b(value.encode(), digest_size=4).digest(), "big")


@lru_cache(maxsize=8192)  # each entity of a message asks
def message_hash(kind: str, message_id: str) -> int:
    """A fixed 64-bit hash of a message of one kind: two of our recent ones never meet in it by chance."""
    return int.from_bytes(blake2b(f"{kind}:{message_id}".encode(), digest_size=8).digest(), "big")
