"""How prices are drawn: topics `price-policies`, `price-priors`, `price-controls`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ibook.messages.base import Currency, Id, Message, Minor, Share, Time


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
