"""How much of one buyer counts in what prices learn, so that nobody steers a price by asking or paying often.

Whether an offer counts is decided when it is made, before anybody knows whether it sells. Decided when it is settled,
sales would use up the room, since they settle first, and the offers that lapse would be the ones left out.

An identity is a pseudonym (`ibook.quotes.QuoteKeys.pseudonym`) of an account, a card or a device. Who opens thousands
of accounts is many identities; that is the fraud model's business.
"""

from collections.abc import Callable, Iterable
from typing import Literal, Protocol
from zlib import crc32

from msgspec import Struct, field

from ibook.quotes import tag
from ibook.settings import Settings

InVain = Literal["sold_out", "not_on_sale"]
"""Why nobody could take an offer."""
Beyond = Literal["offers", "sales", "refunds", "nameless"] | InVain
"""Which cap an offer or a sale was beyond, or why it was made in vain."""
DAY_US = 86_400_000_000


class CapRules(Struct, frozen=True, kw_only=True):
    """What counts at most, at one event."""

    offers: int = 5
    """Of one identity, per ticket type and day (UTC)."""
    sales: int = 3
    """Of one identity, per day, whatever the ticket type; each of its payers is one."""
    refunds: int = 2
    """After so many refunds nothing that an identity does counts any more."""
    nameless_per_slot: int = 20
    """Offers that name no buyer, all together, per ticket type and slot, in a shop that never names any …"""
    nameless_share: float = 0.05
    """… and so many for each that named one, as soon as one did."""

    @classmethod
    def of(cls, settings: Settings) -> "CapRules":
        """The rules that the settings name."""
        return cls(
            offers=settings.cap_offers, sales=settings.cap_sales, refunds=settings.cap_refunds,
            nameless_per_slot=settings.cap_nameless_per_slot, nameless_share=settings.cap_nameless_share,
        )  # fmt: skip


class Tally(Struct, kw_only=True, tag="identity"):
    """What counted of one identity at one event."""

    day: int = 0
    """Days since the epoch that offers and sales are of."""
    offers: dict[str, int] = field(default_factory=dict)
    """By ticket type."""
    sales: int = 0
    refunds: int = 0
    """Ever, as long as it is remembered."""


class Crowd(Struct, kw_only=True, tag="crowd"):
    """What counted of everybody at one ticket type of an event."""

    named: int = 0
    nameless: int = 0
    """Offers, ever."""
    slot: int = 0
    in_slot: int = 0
    """Nameless offers in the newest slot."""
    day: int = 0
    """Of the newest offer."""


Counts = Tally | Crowd


class Store(Protocol):
    """Where counts are kept; a dict is one."""

    def get(self, key: str, /) -> Counts | None:
        """What is kept under a key."""
        ...

    def __setitem__(self, key: str, counts: Counts, /) -> None:
        """Keep it."""
        ...


class IdentityCaps:
    """Decides what counts, and counts it. The same calls in the same order decide the same. Times are in µs.

    >>> caps = IdentityCaps({}, CapRules(offers=1))
    >>> [caps.offer("gala", "stalls", buyer, slot=0, at_us=0) for buyer in ("ann", "ann", "bob")]
    [True, False, True]
    """

    def __init__(self, store: Store, rules: CapRules) -> None:
        self._store = store
        self._rules = rules
        self.beyond: list[Beyond] = []
        """Which cap each of those was beyond that did not count."""

    def offer(self, event_id: str, ticket_type: str, buyer: str, *, slot: int, at_us: int) -> bool:
        """Whether an offer counts, whatever will become of it. `buyer` is empty when the quote names nobody."""
        crowd_key = _key(event_id, "crowd", ticket_type)
        crowd = self._crowd(crowd_key, slot, at_us)
        if buyer:
            counts = self._named_offer(_key(event_id, buyer), ticket_type, at_us)
            crowd.named += counts
        else:
            counts = self._nameless_offer(crowd)
            crowd.nameless += counts
            crowd.in_slot += counts
        self._store[crowd_key] = crowd
        return counts

    def sale(self, event_id: str, payers: Iterable[str], *, at_us: int) -> bool:
        """Whether a sale counts: it does when every identity that paid has room for it."""
        tallies = {key: self._tally(key, at_us) for key in (_key(event_id, payer) for payer in payers)}
        if any(tally.refunds >= self._rules.refunds for tally in tallies.values()):
            return self._is_beyond("refunds")
        if any(tally.sales >= self._rules.sales for tally in tallies.values()):
            return self._is_beyond("sales")
        for key, tally in tallies.items():
            tally.sales += 1
            self._store[key] = tally
        return True

    def refund(self, event_id: str, payers: Iterable[str], *, at_us: int) -> None:
        """Remember it; the room that the sale took is not given back, or buying and returning would have no end."""
        for key in {_key(event_id, payer) for payer in payers}:
            tally = self._tally(key, at_us)
            tally.refunds += 1
            self._store[key] = tally

    def offer_in_vain(self, why: InVain) -> bool:
        """It does not count: nobody could buy, which would look as if the price were too high."""
        return self._is_beyond(why)

    def _named_offer(self, key: str, ticket_type: str, at_us: int) -> bool:
        tally = self._tally(key, at_us)
        if tally.refunds >= self._rules.refunds:
            return self._is_beyond("refunds")
        if tally.offers.get(ticket_type, 0) >= self._rules.offers:
            return self._is_beyond("offers")
        tally.offers[ticket_type] = tally.offers.get(ticket_type, 0) + 1
        self._store[key] = tally
        return True

    def _nameless_offer(self, crowd: Crowd) -> bool:
        if crowd.in_slot >= self._rules.nameless_per_slot:
            return self._is_beyond("nameless")
        if crowd.named and crowd.nameless >= self._rules.nameless_share * crowd.named:
            return self._is_beyond("nameless")
        return True

    def _is_beyond(self, cap: Beyond) -> bool:
        self.beyond.append(cap)
        return False

    def _tally(self, key: str, at_us: int) -> Tally:
        """A late message counts in the day that is there."""
        found, day = self._store.get(key), at_us // DAY_US
        tally = found if isinstance(found, Tally) else Tally(day=day)
        if day > tally.day:
            tally.day, tally.offers, tally.sales = day, {}, 0
        return tally

    def _crowd(self, key: str, slot: int, at_us: int) -> Crowd:
        found = self._store.get(key)
        crowd = found if isinstance(found, Crowd) else Crowd()
        crowd.day = max(crowd.day, at_us // DAY_US)
        if slot > crowd.slot:
            crowd.slot, crowd.in_slot = slot, 0
        return crowd


class Changes:
    """Counts read through, and those that were changed."""

    def __init__(self, read: Callable[[str], Counts | None]) -> None:
        self._read = read
        self._known: dict[str, Counts | None] = {}
        self.changed: dict[str, Counts | None] = {}
        """None: forgotten."""
        self.begun: set[str] = set()
        """Those that were not kept before."""

    def get(self, key: str, /) -> Counts | None:
        """As changed, or as it was read."""
        if key in self.changed:
            return self.changed[key]
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def __setitem__(self, key: str, counts: Counts, /) -> None:
        """Changed."""
        if self.get(key) is None:
            self.begun.add(key)
        self.changed[key] = counts


def forgotten_us(key: str, counts: Counts, memory_seconds: float) -> int:
    """When counts are of no use any more, in µs: a day after theirs, or, with refunds in them, `memory_seconds` later.

    Each at a time of day of its own, or midnight would have millions to forget at once.
    """
    days = int(memory_seconds // 86_400) if isinstance(counts, Crowd) or counts.refunds else 0
    return (counts.day + 2 + days) * DAY_US + crc32(key.encode()) * 1000 % DAY_US


def _key(event_id: str, *parts: str) -> str:
    return ":".join((tag(event_id).hex(), *parts))
