"""Which arm decides which prices, and what it earns: topic `price-experiments`."""

from typing import Annotated

from msgspec import Meta, Struct

from ibook.messages.base import Id, Message, Share, Time


class ExperimentShares(Struct, frozen=True, kw_only=True):
    """Share of the slots whose price each arm of the experiment decides."""

    list_price: Share
    rules: Share
    bandit: Share

    def __post_init__(self) -> None:
        """Raises ValueError (a decoder's InvalidMessage) unless they sum to 1."""
        if abs(self.list_price + self.rules + self.bandit - 1.0) > 1e-9:
            raise ValueError("shares that do not sum to 1")


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
    slots_needed: int | None = None
    """More slots, of all arms, until the uplift is known to a twentieth; while there is no interval, until there is."""


class ExperimentFigures(Message, frozen=True, kw_only=True, tag="experiment_figures.v1"):
    """How the experiment stands. Topic `price-experiments`, key `about`."""

    about: Id = "figures"
    version: int
    since: Time
    """Offers that were made before are left out."""
    arms: list[ArmFigures]
