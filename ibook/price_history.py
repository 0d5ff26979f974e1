"""What the quote journal says, added up per event, ticket type and slot: prices shown, quotes, tickets sold."""

from collections import OrderedDict
from dataclasses import dataclass, field

from ibook.errors import QuoteRefused
from ibook.messages import QuoteIssued, QuoteJournal, QuoteSold, QuoteTakenBack
from ibook.quotes import QuoteKeys, tag

SLOTS_KEPT = 288
"""Slots with quotes remembered per ticket type: a day of five minutes each."""
TICKET_TYPES_KEPT = 20_000
SALES_KEPT = 100_000
"""Sales that can still be taken back, and are not counted twice."""


@dataclass
class SlotHistory:
    """One slot of one ticket type. A slot has one price, unless people intervened in the middle of it."""

    slot: int
    price_minor: int
    """The last price shown."""
    arm: int
    quotes: int = 0
    tickets: int = 0
    """Sold, less those taken back."""
    revenue_minor: int = 0


@dataclass(frozen=True)
class _Sale:
    event_id: str
    ticket_tag: bytes
    slot: int
    n_tickets: int
    amount_minor: int


_Slots = OrderedDict[int, SlotHistory]


@dataclass
class PriceHistory:
    """The newest slots of the ticket types that were quoted last; older ones make room."""

    keys: QuoteKeys
    _tickets: OrderedDict[tuple[str, bytes], _Slots] = field(default_factory=OrderedDict)
    _sales: OrderedDict[tuple[str, str], _Sale] = field(default_factory=OrderedDict)
    """By quote and transaction."""

    def slots(self, event_id: str, ticket_type: str) -> list[SlotHistory]:
        """What is known of a ticket type, by slot, ascending."""
        known: dict[int, SlotHistory] = self._tickets.get((event_id, tag(ticket_type)), OrderedDict())
        return [known[slot] for slot in sorted(known)]

    def take(self, entry: QuoteJournal) -> None:
        """Add an entry of the journal; a sale that is repeated counts once."""
        match entry:
            case QuoteIssued():
                slot = self._slot(entry.event_id, tag(entry.ticket_type), entry.slot, entry.price_minor)
                slot.price_minor, slot.arm = entry.price_minor, entry.arm
                slot.quotes += 1
            case QuoteSold():
                self._sell(entry)
            case QuoteTakenBack():
                sale = self._sales.pop((entry.quote_id, entry.transaction_id), None)
                if sale is not None:
                    self._count(sale, -1)

    def _sell(self, entry: QuoteSold) -> None:
        key = entry.quote_id, entry.transaction_id
        if key in self._sales:
            return
        try:
            quote = self.keys.verify(entry.quote_id, event_id=entry.event_id)
        except QuoteRefused:
            return  # signed with a secret we no longer have: whose slot it was is not known
        sale = _Sale(entry.event_id, quote.ticket_tag, quote.slot, entry.n_tickets, entry.amount_minor)
        self._sales[key] = sale
        if len(self._sales) > SALES_KEPT:
            self._sales.popitem(last=False)
        self._slot(sale.event_id, sale.ticket_tag, sale.slot, quote.price_minor)
        self._count(sale, 1)

    def _count(self, sale: _Sale, sign: int) -> None:
        slot = self._tickets.get((sale.event_id, sale.ticket_tag), OrderedDict()).get(sale.slot)
        if slot is not None:
            slot.tickets += sign * sale.n_tickets
            slot.revenue_minor += sign * sale.amount_minor

    def _slot(self, event_id: str, ticket_tag: bytes, slot: int, price_minor: int) -> SlotHistory:
        slots = self._tickets.setdefault((event_id, ticket_tag), OrderedDict())
        self._tickets.move_to_end((event_id, ticket_tag))
        if len(self._tickets) > TICKET_TYPES_KEPT:
            self._tickets.popitem(last=False)
        found = slots.setdefault(slot, SlotHistory(slot, price_minor, -1))
        if len(slots) > SLOTS_KEPT:
            del slots[min(slots)]
        return found
