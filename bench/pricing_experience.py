"""What a shop's earlier events have taught, as of any moment: one world's events are sold in the order they open.

An event learns from those that opened before it, by what was known of them then; later ones teach it nothing here, so
it knows a little less than it would of the platform.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from ibook.messages import CurveMoments, EventListed
from ibook.pricing_demand import CurveFit, DemandPrior
from ibook.pricing_priors import Name, moments_of, prior_of


@dataclass
class _Told:
    names: tuple[Name, Name]
    times: list[float] = field(default_factory=list)
    moments: list[CurveMoments] = field(default_factory=list)


@dataclass
class Experiences:
    """What the events of one world teach, each as of the moments its prices were reviewed at."""

    _told: dict[str, _Told] = field(default_factory=dict)

    def note(self, at: float, listing: EventListed, fits: Sequence[CurveFit]) -> None:
        """What an event's curves are like; `at` is in seconds since the epoch, and ascends per event."""
        names: tuple[Name, Name] = ("category", listing.category), ("promoter", listing.promoter_id)
        told = self._told.setdefault(listing.event_id, _Told(names))
        told.times.append(at)
        told.moments.append(moments_of(fits))

    def prior(self, at: float, listing: EventListed) -> DemandPrior:
        """Where an event's curves start from."""
        return prior_of(listing, [
            dict.fromkeys(told.names, told.moments[last - 1]) for event_id, told in self._told.items()
            if event_id != listing.event_id and (last := bisect_right(told.times, at))
        ])  # fmt: skip
