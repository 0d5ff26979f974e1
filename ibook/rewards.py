"""A quote's life -> what its offer came to -> integer sums per price.

What an offer counts for is a function of what the journal says of it, so late and repeated entries correct
themselves: a reward is the difference between what counts now and what was counted before.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct, field

from ibook.clock import to_us
from ibook.identity_caps import CapRules, IdentityCaps
from ibook.ids import message_id
from ibook.messages import ClockTicked, PriceReward, QuoteIssued, QuoteJournal, QuoteSold, QuoteTakenBack
from ibook.pricing import PricingRules
from ibook.pricing_young import Cells, add_young, drop_aged, without_young
from ibook.settings import Settings

MAX_UNDONE = 16
"""Undone transactions remembered per quote; a card tester could try thousands at one quote."""
TILES_PER_HALF_LIFE = 8
DAY_SECONDS = 86_400
PACE_SECONDS, PACE_BUCKETS = 300, 144
"""How finely, and for how many stretches of time, the pace of offers is kept: half a day."""
LARGEST_PARTY = 10
"""An order for more tickets counts as one for so many: one buyer must not make seats look scarce."""
MOST_DAYS = 400
"""Days of a sale that are counted; what lies before the oldest is remembered in the number of all offers alone."""
HORIZON_HALF_LIVES = 10
"""Tiles so much older than the newest one are dropped: they would weigh less than a thousandth."""

Refusal = Literal["", "used", "unknown", "other_currency"]


class RewardRules(Struct, frozen=True, kw_only=True):
    """How long a quote is waited for, and how long it is remembered. Durations are in seconds."""

    grace_seconds: float = 60.0
    memory_seconds: float = 86_400.0
    refund_seconds: float = 30 * 86_400.0
    caps: CapRules = CapRules()

    @classmethod
    def of(cls, settings: Settings) -> "RewardRules":
        """The rules that the settings name."""
        return cls(
            grace_seconds=settings.quote_grace_seconds, memory_seconds=settings.quote_memory_seconds,
            refund_seconds=settings.refund_seconds, caps=CapRules.of(settings),
        )  # fmt: skip


# ----------------------------------------------------------------------------------------------------- life of a quote
class QuoteLife(Struct, kw_only=True):
    """All that counts of what the journal said about one quote."""

    issued: QuoteIssued | None = None
    """None when something else was read first."""
    seen_us: int
    """Event time of the first entry read, in µs: how long an entry without its quote is kept."""
    sold_to: str = ""
    """Its one sale: the first transaction that settled."""
    sale_undone: bool = False
    n_tickets: int = 1
    """Tickets of that sale."""
    currency: str = ""
    """Of that sale; empty when its entry does not say."""
    undone: list[str] = field(default_factory=list)
    """Other transactions that were refunded, declined, or refused by our own verdict."""
    lapsed: bool = False
    """Nothing had settled when expiry and grace were over."""
    offers: int = 0
    """Counted so far, in rewards."""
    sales: int = 0
    payers: list[str] = field(default_factory=list)
    """Of its one sale."""
    capped: bool = False
    """Offer or sale were beyond what may count of one identity: it counts for nothing."""


def note(life: QuoteLife | None, entry: QuoteJournal, caps: IdentityCaps) -> tuple[QuoteLife, Refusal]:
    """The life with one more entry in it; repeats change nothing.

    A second sale is refused as `used`, one that was paid in another currency than was quoted as `other_currency`.
    """
    life = life or QuoteLife(seen_us=to_us(entry.occurred_at))
    match entry:
        case QuoteIssued() if life.issued is None:
            life.issued = entry
            life.capped = life.capped or not _offer_counts(entry, caps)
        case QuoteSold() if life.issued is not None and entry.currency not in ("", life.issued.currency):
            return life, "other_currency"
        case QuoteSold() if not life.sold_to:
            life.currency = entry.currency
            life.sold_to, life.n_tickets, life.payers = entry.transaction_id, entry.n_tickets, entry.payers
            life.sale_undone = entry.transaction_id in life.undone
            life.capped = life.capped or not _sale_counts(life, entry, caps)
        case QuoteSold() if life.sold_to != entry.transaction_id:
            return life, "used"
        case QuoteTakenBack() if entry.transaction_id == life.sold_to and not life.sale_undone:
            life.sale_undone = True
            if entry.reason == "refunded":
                caps.refund(entry.event_id, _involved(life), at_us=to_us(entry.occurred_at))
        case QuoteTakenBack() if entry.transaction_id not in life.undone:
            life.undone = [*life.undone, entry.transaction_id][-MAX_UNDONE:]
    return life, ""


def _offer_counts(issued: QuoteIssued, caps: IdentityCaps) -> bool:
    if issued.before_sale:
        return caps.offer_in_vain("not_on_sale")
    if issued.seats_left == 0:
        return caps.offer_in_vain("sold_out")
    at_us = to_us(issued.occurred_at)
    return caps.offer(issued.event_id, issued.ticket_type, issued.buyer, slot=issued.slot, at_us=at_us)


def _sale_counts(life: QuoteLife, sold: QuoteSold, caps: IdentityCaps) -> bool:
    return caps.sale(sold.event_id, _involved(life), at_us=to_us(sold.occurred_at))


def _involved(life: QuoteLife) -> set[str]:
    """Who asked, and who paid."""
    asked = {life.issued.buyer} if life.issued and life.issued.buyer else set()
    return asked | set(life.payers)


def outcome(life: QuoteLife) -> tuple[int, int]:
    """Offers and sales that the quote counts for now: (1, 1) sold, (1, 0) lapsed, (0, 0) open, taken back, capped, or
    paid in another currency than was quoted, which the sale could not know when it was read before its quote.

    An attempt that was undone teaches no price, unless another one at the same quote settles.
    """
    if life.issued is None or life.capped or life.currency not in ("", life.issued.currency):
        return 0, 0
    if life.sold_to and not life.sale_undone:
        return 1, 1
    if life.sold_to or life.undone:
        return 0, 0
    return (1, 0) if life.lapsed else (0, 0)


def settle(life: QuoteLife, entry: QuoteJournal, *, partition: int, sequence: int) -> PriceReward | None:
    """The reward that makes up the difference to what was counted, which then is counted; None when there is none.

    `entry` is what settled it; `partition` and `sequence` number the reward in its journal partition.
    """
    offers, sales = outcome(life)
    offers_delta, sales_delta = offers - life.offers, sales - life.sales
    if life.issued is None or (offers_delta, sales_delta) == (0, 0):
        return None
    life.offers, life.sales = offers, sales
    issued = life.issued
    return PriceReward(
        message_id=message_id(issued.quote_id, str(partition), str(sequence)), occurred_at=entry.occurred_at,
        event_id=issued.event_id, quote_id=issued.quote_id, ticket_type=issued.ticket_type, arm=issued.arm,
        price_minor=issued.price_minor, slot=issued.slot, offered_at=issued.occurred_at,
        offers=offers_delta, sales=sales_delta, revenue_minor=sales_delta * issued.price_minor,
        n_tickets=life.n_tickets, source_partition=partition, sequence=sequence,
    )  # fmt: skip


def kind(reward: PriceReward) -> str:
    """A word for a reward, as a metric label."""
    if reward.sales:
        return "sold" if reward.sales > 0 else "taken_back"
    return "unsold" if reward.offers > 0 else "taken_back"


def due_us(life: QuoteLife, rules: RewardRules) -> int:
    """When the clock next changes this life, in µs: it lapses, and later it is forgotten."""
    if life.issued is None:
        return life.seen_us + _us(rules.memory_seconds)
    waited_us = to_us(life.issued.expires_at) + _us(rules.grace_seconds)
    if not life.lapsed:
        return waited_us
    return waited_us + _us(rules.refund_seconds if life.sold_to else rules.memory_seconds)


def pass_time(life: QuoteLife, tick: ClockTicked, rules: RewardRules) -> QuoteLife | None:
    """The life when the clock has ticked: lapsed when it was due, None when it can be forgotten."""
    if due_us(life, rules) > to_us(tick.occurred_at):
        return life
    if life.issued is None or life.lapsed:
        return None
    life.lapsed = True
    return life


def _us(seconds: float) -> int:
    return timedelta(seconds=seconds) // timedelta(microseconds=1)


# ---------------------------------------------------------------------------------------------------- sums of an event
class EventSums(Struct, kw_only=True):
    """What the offers of an event came to: integers, so that what is taken back leaves without a trace."""

    prices: dict[str, dict[int, dict[int, tuple[int, int]]]] = field(default_factory=dict)
    """Ticket type -> price in minor units -> tile start in seconds since the epoch -> offers, sales."""
    seen: dict[int, int] = field(default_factory=dict)
    """Journal partition -> sequence of the last reward folded: repeats are skipped."""
    newest: int = 0
    """Start of the newest tile."""
    pace: dict[int, int] = field(default_factory=dict)
    """Start of each of the newest PACE_BUCKETS stretches of PACE_SECONDS, in seconds since the epoch -> offers."""
    days: dict[int, int] = field(default_factory=dict)
    """Day since the epoch -> offers, for MOST_DAYS."""
    latest: int = 0
    """Start of the newest such stretch ever: what is half a day older is left out."""
    young: dict[str, Cells] = field(default_factory=dict)
    """Of `prices`, the offers of the last hour; see `ibook.pricing_young`."""
    began: int = 0
    """When the first offer was made, in seconds since the epoch."""
    offers: int = 0
    """Offers and sales ever, and the tickets of each sale (at most LARGEST_PARTY) together."""
    sales: int = 0
    tickets: int = 0


def fold(sums: EventSums, reward: PriceReward, half_life_seconds: float) -> bool:
    """Add a reward where its offer was made; False when it was folded before."""
    if reward.sequence <= sums.seen.get(reward.source_partition, -1):
        return False
    sums.seen[reward.source_partition] = reward.sequence
    tile = _tile_start(reward, half_life_seconds)
    if tile > sums.newest:
        sums.newest = tile
        _drop_before(sums, _horizon(sums, half_life_seconds))
    if tile >= _horizon(sums, half_life_seconds):
        _add(sums, reward.ticket_type, reward.price_minor, tile, reward.offers, reward.sales)
        _fold_young(sums, reward, tile)
    _fold_pace(sums, reward)
    return True


def known(sums: EventSums, now: datetime, rules: PricingRules) -> Mapping[str, Cells]:
    """The sums of all offers of which it is known by now whether they sold, by ticket type."""
    return without_young(
        sums.prices, sums.young, before=now.timestamp() - rules.lapse_seconds,
        tile_seconds=tile_seconds(rules.half_life_seconds),
    )  # fmt: skip


def _fold_young(sums: EventSums, reward: PriceReward, tile: int) -> None:
    offered = int(to_us(reward.offered_at) // 1_000_000)
    if offered // PACE_SECONDS * PACE_SECONDS > sums.latest:
        drop_aged(sums.young, offered)
    add_young(
        sums.young, reward.ticket_type, reward.price_minor, offered=offered, tile=tile,
        deltas=(reward.offers, reward.sales), newest=max(sums.latest, offered),
    )  # fmt: skip


def _fold_pace(sums: EventSums, reward: PriceReward) -> None:
    """How fast offers are made, and how many tickets a sale is for."""
    offered = int(to_us(reward.offered_at) // 1_000_000)
    sums.began = min(sums.began or offered, offered)
    sums.offers += reward.offers
    day = offered // DAY_SECONDS
    sums.days[day] = sums.days.get(day, 0) + reward.offers
    if not sums.days[day] or len(sums.days) > MOST_DAYS:
        del sums.days[day if not sums.days[day] else min(sums.days)]
    sums.sales += reward.sales
    sums.tickets += reward.sales * min(max(1, reward.n_tickets), LARGEST_PARTY)
    bucket = offered // PACE_SECONDS * PACE_SECONDS
    sums.latest = max(sums.latest, bucket)
    oldest = sums.latest - PACE_BUCKETS * PACE_SECONDS
    if bucket > oldest:
        sums.pace[bucket] = sums.pace.get(bucket, 0) + reward.offers
        if not sums.pace[bucket]:
            del sums.pace[bucket]
    for start in [start for start in sums.pace if start <= oldest] if len(sums.pace) > PACE_BUCKETS else []:
        del sums.pace[start]


def tile_seconds(half_life_seconds: float) -> int:
    """Width of a tile."""
    return max(1, int(half_life_seconds / TILES_PER_HALF_LIFE))


def _tile_start(reward: PriceReward, half_life_seconds: float) -> int:
    width = tile_seconds(half_life_seconds)
    return int(to_us(reward.offered_at) // 1_000_000 // width * width)


def _horizon(sums: EventSums, half_life_seconds: float) -> int:
    return sums.newest - int(HORIZON_HALF_LIVES * half_life_seconds)


def _add(sums: EventSums, ticket_type: str, price_minor: int, tile: int, offers: int, sales: int) -> None:
    """Count in a cell; what was taken back leaves nothing behind."""
    prices = sums.prices.setdefault(ticket_type, {})
    tiles = prices.setdefault(price_minor, {})
    before = tiles.get(tile, (0, 0))
    tiles[tile] = (before[0] + offers, before[1] + sales)
    if tiles[tile] == (0, 0):
        del tiles[tile]
        _drop_empty(sums, ticket_type, price_minor)


def _drop_before(sums: EventSums, horizon: int) -> None:
    for ticket_type, price_minor in [(name, price) for name, prices in sums.prices.items() for price in prices]:
        tiles = sums.prices[ticket_type][price_minor]
        for tile in [start for start in tiles if start < horizon]:
            del tiles[tile]
        _drop_empty(sums, ticket_type, price_minor)


def _drop_empty(sums: EventSums, ticket_type: str, price_minor: int) -> None:
    if not sums.prices[ticket_type][price_minor]:
        del sums.prices[ticket_type][price_minor]
    if not sums.prices[ticket_type]:
        del sums.prices[ticket_type]
