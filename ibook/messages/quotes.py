"""Prices shown to buyers and what came of them: topics `quote-journal`, `price-rewards`."""

from typing import Annotated, Literal

from msgspec import Meta

from ibook.messages.base import Currency, Id, Message, Minor, Seats, Share, Time
from ibook.messages.experiments import ExperimentShares


class JournalEntry(Message, frozen=True, kw_only=True):
    """One step in the life of a quote. Topic `quote-journal`, key `quote_id`, partition by `event_id` (ours)."""

    quote_id: Id
    event_id: Id


class QuoteIssued(JournalEntry, frozen=True, kw_only=True, tag="quote_issued.v1"):
    """A price was shown to a buyer: an offer. Arm and propensity never leave the journal."""

    ticket_type: Id
    currency: Currency
    price_minor: Minor
    slot: int
    """Number of the time slot since the epoch whose price was drawn."""
    arm: int
    """Index of the policy's price; -1 for the list price without a policy, -2 for a price by rule."""
    propensity: Share
    """P(arm) under the policy that drew it."""
    policy_version: int
    expires_at: Time
    decided_by: str = ""
    """Arm of the experiment: `list_price`, `rules` or `bandit`; empty for a price by order or without a policy."""
    experiment: int = 0
    """Version of its shares; 0 are those of the settings."""
    shares: ExperimentShares | None = None
    total_propensity: Share | None = None
    """P(price) under experiment and policy together, whichever arm led to it; None: `propensity` is all there is."""
    list_price_minor: Minor | None = None
    seats_left: Seats | None = None
    before_sale: bool = False
    """Whether it was made before the event's sale began: nobody could buy, so it teaches nothing."""
    buyer: str = ""
    """Pseudonym of who asked; empty when the shop named nobody."""


class QuoteSold(JournalEntry, frozen=True, kw_only=True, tag="quote_sold.v1"):
    """A payment at this quote settled."""

    transaction_id: Id
    n_tickets: Seats
    amount_minor: Minor
    currency: str = ""
    """Of what was paid; empty in entries of before it was noted."""
    payers: list[str] = []
    """Pseudonyms of the account, the card and the device that paid."""


class QuoteTakenBack(JournalEntry, frozen=True, kw_only=True, tag="quote_taken_back.v1"):
    """The sale was undone (refund), or never allowed (our own verdict): it must not teach a price."""

    transaction_id: Id
    reason: Literal["refunded", "verdict", "declined"]


class ClockTicked(Message, frozen=True, kw_only=True, tag="clock_ticked.v1"):
    """It is now `occurred_at`: what was due by then has lapsed. Written by the rewards worker into its own partitions.

    Because it travels in the log, everything that was journalled before it is read before it, however late.
    """


QuoteJournal = QuoteIssued | QuoteSold | QuoteTakenBack | ClockTicked


class PriceReward(Message, frozen=True, kw_only=True, tag="price_reward.v1"):
    """What an offer came to. Topic `price-rewards`, key `event_id`.

    `offers` and `sales` are +1, 0 or -1: a sale taken back leaves with its offer, from where they were counted:
    the price that was shown and the time it was shown at. `occurred_at` is when the reward was settled.
    """

    event_id: Id
    quote_id: Id
    ticket_type: Id
    arm: int
    """As in QuoteIssued."""
    price_minor: Minor
    slot: int
    offered_at: Time
    offers: Annotated[int, Meta(ge=-1, le=1)]
    sales: Annotated[int, Meta(ge=-1, le=1)]
    revenue_minor: int
    """Price shown when sold; negative when taken back."""
    n_tickets: Seats = 1
    """Tickets of the sale; 1 when there is none."""
    source_partition: int
    """Journal partition, and the reward's number in it: increasing, repeated on redelivery."""
    sequence: int
