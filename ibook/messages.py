"""What travels on Kafka: one frozen struct per message, versioned by its tag.

A new field carries a default; a changed meaning gets a new tag. `type` on the wire is the tag. Times are
RFC 3339 with an offset, money is an integer number of minor units.
"""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

Id = Annotated[str, Meta(min_length=1, max_length=128)]
"""An identifier the shop chose; never interpreted."""
Time = Annotated[datetime, Meta(tz=True)]
Minor = Annotated[int, Meta(ge=0, le=10**11)]
"""Money in minor units of its currency (ISO 4217)."""
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Bin = Annotated[str, Meta(pattern="^[0-9]{6,8}$")]
"""First digits of a card: the issuer."""
Category = Literal["sports", "concerts", "family", "cultural"]
Seats = Annotated[int, Meta(ge=0, le=1_000_000)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Action = Literal["approve", "review", "challenge", "decline"]
Posture = Literal["normal", "stale_features", "no_features", "rules_only"]


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every message carries."""

    message_id: Id
    """Idempotency key: a redelivery repeats it."""
    occurred_at: Time
    """Event time: when it happened, not when anyone read it."""


# ------------------------------------------------------------------------------------------------ ticket-activity
class Activity(Message, frozen=True, kw_only=True):
    """Something a user did before or after paying. Topic `ticket-activity`, key `user_id`."""

    user_id: Id
    device_id: Id
    ip: Id


class EventViewed(Activity, frozen=True, kw_only=True, tag="event_viewed.v1"):
    """A buyer looked at an event's page."""

    event_id: Id


class SeatsHeld(Activity, frozen=True, kw_only=True, tag="seats_held.v1"):
    """Seats were put into a cart."""

    event_id: Id
    hold_id: Id
    n_seats: Seats


class SeatsReleased(Activity, frozen=True, kw_only=True, tag="seats_released.v1"):
    """A hold ended without a purchase."""

    event_id: Id
    hold_id: Id
    n_seats: Seats


class LoginAttempted(Activity, frozen=True, kw_only=True, tag="login_attempted.v1"):
    """Somebody tried to log in as this user."""

    succeeded: bool


class AccountChanged(Activity, frozen=True, kw_only=True, tag="account_changed.v1"):
    """The account was opened or one of its credentials changed."""

    change: Literal["opened", "email", "password", "phone"]


class TicketsTransferred(Activity, frozen=True, kw_only=True, tag="tickets_transferred.v1"):
    """Tickets of a paid order went to somebody else."""

    event_id: Id
    transaction_id: Id
    n_tickets: Seats


TicketActivity = EventViewed | SeatsHeld | SeatsReleased | LoginAttempted | AccountChanged | TicketsTransferred


# ------------------------------------------------------------------------- ticket-purchases and what follows from them
class Order(Message, frozen=True, kw_only=True):
    """The ids of a purchase. What follows it repeats them, so nobody needs a join to count it.

    The shop knows promoter and category of what it sells; without them nothing is counted for them.
    """

    transaction_id: Id
    user_id: Id
    card_id: Id
    device_id: Id
    ip: Id
    event_id: Id
    amount_minor: Minor
    currency: Currency
    n_tickets: Annotated[int, Meta(ge=1, le=1000)]
    quote_id: Id | None = None
    """The price quote it was bought at, if there was one."""
    promoter_id: Id | None = None
    category: Category | None = None


class PurchaseRequested(Order, frozen=True, kw_only=True, tag="purchase_requested.v1"):
    """A buyer pressed "pay". Topic `ticket-purchases`, key `card_id`.

    A retry with another card is a new `transaction_id`.
    """

    ticket_type: Id
    bin: Bin
    card_country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    ip_country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    email_domain: Id
    account_opened_at: Time
    starts_at: Time | None = None
    """When the event begins."""
    list_price_minor: Minor | None = None
    """What one such ticket costs before any dynamic price."""


class PaymentOutcome(Order, frozen=True, kw_only=True, tag="payment_outcome.v1"):
    """What the payment provider said. Topic `payment-outcomes`, key `transaction_id`."""

    status: Literal["authorised", "declined", "settled", "refunded"]
    bin: Bin | None = None
    reason: str = ""
    """The provider's code when declined, the shop's when refunded."""


class FraudLabel(Order, frozen=True, kw_only=True, tag="fraud_label.v1"):
    """What was learned about a purchase, long after it. Topic `fraud-labels`, key `transaction_id`.

    `occurred_at` is when it became known; `effective_at` is the purchase's time. A `reversal` takes back what
    was said before.
    """

    source: Literal["chargeback", "early_warning", "review", "reversal"]
    is_fraud: bool
    effective_at: Time
    bin: Bin | None = None


# ------------------------------------------------------------------------------------------ event-listings, -inventory
class TicketType(Struct, frozen=True, kw_only=True):
    """One kind of ticket of an event, with the bounds its price must keep."""

    name: Id
    list_price_minor: Annotated[int, Meta(ge=1, le=10**9)]
    floor_minor: Annotated[int, Meta(ge=1, le=10**9)]
    cap_minor: Annotated[int, Meta(ge=1, le=10**9)]
    published_low_minor: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    """The lowest price the shop tells buyers to expect; None: the floor."""
    published_high_minor: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    """The highest one; None: the cap."""

    def __post_init__(self) -> None:
        """Raises ValueError (a decoder's InvalidMessage) unless floor <= low <= list price <= high <= cap."""
        if not self.floor_minor <= self.list_price_minor <= self.cap_minor:
            raise ValueError("list price outside floor and cap")
        if not self.floor_minor <= self.lowest_minor <= self.list_price_minor <= self.highest_minor <= self.cap_minor:
            raise ValueError("published range outside floor and cap, or without the list price")

    @property
    def lowest_minor(self) -> int:
        """No price may be lower."""
        return self.floor_minor if self.published_low_minor is None else self.published_low_minor

    @property
    def highest_minor(self) -> int:
        """No price may be higher."""
        return self.cap_minor if self.published_high_minor is None else self.published_high_minor


class EventListed(Message, frozen=True, kw_only=True, tag="event_listed.v1"):
    """An event is on sale. Topic `event-listings`, key `event_id`, compacted: the last one counts."""

    event_id: Id
    name: str
    category: Category
    promoter_id: Id
    venue: str
    capacity: Seats
    on_sale_at: Time
    starts_at: Time
    currency: Currency
    ticket_types: Annotated[list[TicketType], Meta(min_length=1, max_length=50)]


class InventoryChanged(Message, frozen=True, kw_only=True, tag="inventory_changed.v1"):
    """Seats left to sell. Topic `event-inventory`, key `event_id`, compacted: the last one counts."""

    event_id: Id
    capacity: Seats
    remaining: Seats
    promoter_id: Id | None = None


# -------------------------------------------------------------------------------------------------- competitor-prices
class CompetitorPrice(Struct, frozen=True, kw_only=True):
    """What somebody else asks for one of our ticket types."""

    ticket_type: Id
    price_minor: Minor


class CompetitorPrices(Message, frozen=True, kw_only=True, tag="competitor_prices.v1"):
    """What the cheapest competitor asks now. Topic `competitor-prices`, key `event_id`, compacted: the last one counts.

    Ticket types that are not named are not offered elsewhere.
    """

    event_id: Id
    currency: Currency
    prices: Annotated[list[CompetitorPrice], Meta(max_length=50)]


# --------------------------------------------------------------------------------------- fraud-verdicts, fraud-evidence
class FraudVerdict(Message, frozen=True, kw_only=True, tag="fraud_verdict.v1"):
    """The answer to one purchase. Topic `fraud-verdicts`, key `transaction_id`, the partition of the purchase.

    The first verdict of a transaction in its partition counts; `occurred_at` is when it was decided.
    """

    transaction_id: Id
    action: Action
    score_band: Literal["low", "elevated", "high", "highest", "not_scored"]
    posture: Posture
    model_version: str
    """`none` when no model took part."""
    quote_id: Id | None = None
    event_id: str = ""
    """The event of the purchase; empty when the purchase could not be read."""


class StatePosition(Struct, frozen=True, kw_only=True):
    """Which state of an entity a verdict was computed from."""

    entity: str
    key: str
    updates_partition: int
    updates_offset: int
    """Last folded offset of `entity-updates`; -1 when the entity had no state."""
    folded: list[tuple[str, int, int, int, int]] = []
    """What the verdict worker folded on top: (topic, partition, first offset, last offset, how many)."""


class ReasonCode(Struct, frozen=True, kw_only=True):
    """Why a purchase was not approved: a code of the catalogue, and how much it weighed (log-odds; 0 for a rule)."""

    code: str
    contribution: float
    rule: str = ""
    """The rule that names the code; empty when the model does."""


class VerdictEvidence(Message, frozen=True, kw_only=True, tag="verdict_evidence.v1"):
    """All that went into a verdict. Topic `fraud-evidence`, key `transaction_id`; written before the verdict."""

    decision_id: Id
    transaction_id: Id
    purchase: PurchaseRequested | None
    """None when the purchase could not be read."""
    source: tuple[str, int, int]
    """Topic, partition and offset of the purchase."""
    action: Action
    posture: Posture
    score: float | None
    threshold: float | None
    propensity: float
    """P(approve) of the exploration slice: below 1 only where a would-be decline could be approved."""
    explored: bool
    rules: list[str]
    reasons: list[ReasonCode]
    feature_names_hash: str
    features: list[float | None]
    """In the order of the model's feature service; null is missing."""
    states: list[StatePosition]
    staleness_seconds: float | None
    """Decision time minus the feature workers' heartbeat."""
    model_version: str
    """Whose score it is."""
    policy_version: str
    challenger_version: str = ""
    """The model that scored beside the champion, if there was one."""
    challenger_score: float | None = None
    """What it said; None when it failed or was late."""
    champion_score: float | None = None
    """What the champion said where the challenger decided."""
    exploration_closed: bool = False
    """A would-be decline that the day's budget of the exploration slice could not pay: `propensity` is 1."""


# ----------------------------------------------------------------------------------------------------- model-releases
class Release(Message, frozen=True, kw_only=True):
    """An artefact is to be run. Topic `model-releases`, key `model`, kept forever: the model's timeline."""

    model: Id
    version: Id
    artefact: str
    """Path relative to the model store, or a URI."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    feature_names_hash: str
    released_by: str = ""
    why: str = ""
    guarded: bool = True
    """Whether workers take it back by themselves when its guard figures break."""


class ModelReleased(Release, frozen=True, kw_only=True, tag="model_released.v1"):
    """From now on this artefact decides: the champion."""


class ChallengerReleased(Release, frozen=True, kw_only=True, tag="challenger_released.v1"):
    """From now on this artefact scores beside the champion; the challenger before it is withdrawn."""

    share: Share = 0.0
    """It decides for this share of the cards; 0 is a shadow, which decides for none."""


class ReleaseTakenBack(Message, frozen=True, kw_only=True, tag="release_taken_back.v1"):
    """A release counts no more: what counted before it decides again. Said twice, it changes nothing more."""

    model: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    """Who took it back; `guard` is a worker that found its figures broken."""
    why: str = ""


class ReleaseConfirmed(Message, frozen=True, kw_only=True, tag="release_confirmed.v1"):
    """A new champion has proved itself: no process compares it with the one before it any more."""

    model: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    """Who found it good; `guard` is a worker whose figures stayed within their bounds."""
    why: str = ""


ModelReleases = ModelReleased | ChallengerReleased | ReleaseTakenBack | ReleaseConfirmed


class ModelReport(Message, frozen=True, kw_only=True, tag="model_report.v1"):
    """What one process runs. Topic `model-reports`, key `process`; told at every change and every few seconds."""

    process: Id
    model: Id
    champion: str
    """Version that decides; `none` when there is none."""
    challenger: str = ""
    """Version that scores beside it."""
    releases: int = 0
    """How many messages of `model-releases` it has taken note of."""
    refused: str = ""
    """Why the newest release was not loaded, when it was not."""
    policy: str = ""
    """Version of the verdict policy that decides; empty where none is followed."""
    policies: int = 0
    """How many messages of `policy-releases` it has taken note of."""
    policy_refused: str = ""
    """Why the newest policy that was released and not taken back does not decide, when it does not."""


# ---------------------------------------------------------------------------------------------------- policy-releases
class PolicyReleased(Message, frozen=True, kw_only=True, tag="policy_released.v1"):
    """From now on this verdict policy decides. Topic `policy-releases`, key `policy`, kept forever: its timeline."""

    policy: Id
    version: Id
    """As evidence names it: the file's version and the hash of its text."""
    text: str
    """The whole policy, as TOML."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of the text, as UTF-8."""
    released_by: str = ""
    why: str = ""
    guarded: bool = False
    """Whether workers take it back by themselves when it approves many more than the policy before it, or fewer."""


class PolicyTakenBack(Message, frozen=True, kw_only=True, tag="policy_taken_back.v1"):
    """A policy counts no more: the one before it decides again. Said twice, it changes nothing more."""

    policy: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    """Who took it back; `guard` is a worker."""
    why: str = ""


class PolicyConfirmed(Message, frozen=True, kw_only=True, tag="policy_confirmed.v1"):
    """A new policy has proved itself: no process compares it with the one before it any more."""

    policy: Id
    release_id: Id
    """The release's `message_id`."""
    released_by: str = ""
    why: str = ""


PolicyReleases = PolicyReleased | PolicyTakenBack | PolicyConfirmed


# -------------------------------------------------------------------------------------------------------- dead-letters
class DeadLetter(Message, frozen=True, kw_only=True, tag="dead_letter.v1"):
    """A message nobody could read. Topic `dead-letters`, key of the source."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    worker: str
    payload: bytes
    """As it came, base64 in JSON; the first 64 KiB of an oversize one."""
    truncated: bool = False
    """Payload, key or headers are longer than what is kept here: the source topic holds all."""
    key: bytes | None = None
    """Of the message, base64 in JSON."""
    headers: list[tuple[str, bytes]] | None = None
    """Of the message, values in base64; None in what older workers wrote: the source topic holds them, and the key."""
    attempt: int = 0
    """How often it had been published again from here when it was refused this time."""


class DeadLetterRedriven(Message, frozen=True, kw_only=True, tag="dead_letter_redriven.v1"):
    """A dead letter's message was published again to where it came from. Topic `dead-letters`, key of the source."""

    letter: Id
    """`message_id` of the dead letter."""
    attempt: int
    why: str = ""
    """Why it was redriven although its reason speaks against it."""


# ------------------------------------------------------------------- quote-journal, price-rewards, price-policies
class JournalEntry(Message, frozen=True, kw_only=True):
    """One step in the life of a quote. Topic `quote-journal`, key `quote_id`, partition by `event_id` (ours)."""

    quote_id: Id
    event_id: Id


class ExperimentShares(Struct, frozen=True, kw_only=True):
    """Share of the slots whose price each arm of the experiment decides."""

    list_price: Share
    rules: Share
    bandit: Share

    def __post_init__(self) -> None:
        """Raises ValueError (a decoder's InvalidMessage) unless they sum to 1."""
        if abs(self.list_price + self.rules + self.bandit - 1.0) > 1e-9:
            raise ValueError("shares that do not sum to 1")


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
    buyer: str = ""
    """Pseudonym of who asked; empty when the shop named nobody."""


class QuoteSold(JournalEntry, frozen=True, kw_only=True, tag="quote_sold.v1"):
    """A payment at this quote settled."""

    transaction_id: Id
    n_tickets: Seats
    amount_minor: Minor
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


class ArmProbabilities(Struct, frozen=True, kw_only=True):
    """How likely each price multiplier is drawn for a ticket type."""

    ticket_type: Id
    list_price_minor: Annotated[int, Meta(ge=1)]
    prices_minor: list[Minor]
    """Price of each arm, after floor and cap."""
    probabilities: list[Share]
    expected_sales: list[Share]
    """Mean of each arm's posterior P(sale | offer)."""
    interval: list[tuple[float, float]]
    """95 % interval of each arm's posterior P(sale | offer)."""
    anchor_minor: Minor = 0
    """The price that the prices of `anchor_hour` keep near to; 0 when there is none."""
    anchor_hour: int = 0
    """Number of that hour since the epoch."""
    why: str = ""
    """In a sentence, for the shop's staff: what these probabilities come from."""
    rule_minor: Minor = 0
    """The price that seats and time alone would give, as the nearest of `prices_minor`; 0 when nobody worked it out."""

    def __post_init__(self) -> None:
        """Raises ValueError (a decoder's InvalidMessage) unless there is one of each per arm, and they sum to 1."""
        lengths = {len(self.prices_minor), len(self.probabilities), len(self.expected_sales), len(self.interval)}
        if len(lengths) != 1 or abs(sum(self.probabilities) - 1.0) > 1e-9:
            raise ValueError("arms of unequal length, or probabilities that do not sum to 1")


class CurveMoments(Struct, frozen=True, kw_only=True):
    """What is believed of some demand curves, added up: see `ibook.pricing_priors`."""

    curves: Annotated[int, Meta(ge=0)]
    """How many."""
    sums: tuple[float, float, float]
    """Of the means of their three parameters."""
    squares: tuple[float, float, float, float, float, float, float, float, float]
    """Of the expected outer products of the parameters, row by row."""


PriorScope = Literal["category", "promoter"]


class PricePrior(Message, frozen=True, kw_only=True, tag="price_prior.v1"):
    """What one partition's events of a category or promoter were like. Topic `price-priors`, compacted.

    Key: scope, name and partition. Readers add up what the partitions say.
    """

    scope: PriorScope
    name: Id
    """A category, or a promoter's id."""
    partition: Annotated[int, Meta(ge=0)]
    moments: CurveMoments


class PricePolicy(Message, frozen=True, kw_only=True, tag="price_policy.v1"):
    """The prices of an event from a slot on. Topic `price-policies`, key `event_id`, compacted.

    `upcoming` holds from `first_slot`, a future one; `current` until then (empty: list prices, no policy yet).
    """

    event_id: Id
    version: int
    slot_seconds: Annotated[float, Meta(gt=0)]
    first_slot: int
    currency: Currency
    current: list[ArmProbabilities]
    upcoming: list[ArmProbabilities]
    learned: list[tuple[int, int]] = []
    """Each journal partition, and the number of its last reward that is in the posterior."""


# ------------------------------------------------------------------------------------------------------- price-controls
class PriceControlled(Message, frozen=True, kw_only=True, tag="price_controlled.v1"):
    """What people ordered of an event's prices, or of all. Topic `price-controls`, key `event_id`; the last one counts.

    Neither frozen nor with a policy: prices are learned again.
    """

    event_id: Annotated[str, Meta(max_length=128)]
    """Empty: all events."""
    frozen: bool = False
    """List prices until it is ordered otherwise."""
    policy: PricePolicy | None = None
    """An earlier policy that is in force whatever the learner publishes."""
    until: Time | None = None
    """When the order ends by itself."""
    by: str = ""
    why: str = ""


# ---------------------------------------------------------------------------------------------------- price-experiments
class ArmEnded(Struct, frozen=True, kw_only=True):
    """An arm of the experiment that decides no more."""

    arm: str
    why: str


class PriceExperiment(Message, frozen=True, kw_only=True, tag="price_experiment.v1"):
    """Which arm decides how many slots. Topic `price-experiments`, key `about`; the last one counts.

    `shares` hold for the slots that begin at `begins_at` or later, `before` for those until then.
    """

    about: Id = "shares"
    version: Annotated[int, Meta(ge=1)]
    shares: ExperimentShares
    begins_at: Time
    before: ExperimentShares
    before_version: int
    counts_from: int
    """Slots of earlier versions are no part of its figures: an order of people begins anew, an arm's end does not."""
    ended: list[ArmEnded] = []
    by: str = ""
    why: str = ""


class ArmFigures(Struct, frozen=True, kw_only=True):
    """What one arm of the experiment earned so far; revenues are multiples of the list price."""

    arm: str
    slots: int
    offers: int
    sales: int
    revenue_per_offer: float
    uplift: float | None = None
    """Against list price, as a share of it; None for list price itself, and while there is too little to say."""
    low: float | None = None
    """Interval of 95 % for the uplift that holds at all times at once."""
    high: float | None = None


class ExperimentFigures(Message, frozen=True, kw_only=True, tag="experiment_figures.v1"):
    """How the experiment stands. Topic `price-experiments`, key `about`."""

    about: Id = "figures"
    version: int
    since: Time
    """Offers that were made before are left out."""
    arms: list[ArmFigures]


QuoteJournal = QuoteIssued | QuoteSold | QuoteTakenBack | ClockTicked
