"""What a scenario's turns can do to the world, each by the share of the traffic that the scenario is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from simulator.attacks import PATTERNS
from simulator.catalogue import DAY_US, Event
from simulator.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Stage:
    """A run's world at work."""

    simulation: Simulation
    purchases: float
    """Those of the whole run, about."""
    begin: Callable[[str], int | None]
    """Begins a campaign on top of the load."""
    share: float = 1.0
    """What part of the traffic the turn's scenario makes up."""
    _focused: dict[str, float] = field(default_factory=dict)
    _hot: list[Event] = field(default_factory=list)

    def part(self, share: float) -> "Stage":
        """The stage of a scenario that is only a share of the traffic."""
        return replace(self, share=self.share * share)

    # ------------------------------------------------------------------------------------------------- attacks
    def launch(self, pattern: str, *, share: float, within: float = 0.0) -> None:
        """Begin campaigns, at least one, that try about `share` of the scenario's purchases, over `within` seconds."""
        n = max(1, round(share * self.share * self.purchases / PATTERNS[pattern].typical_purchases))
        for number in range(n):
            self.simulation.engine.after(within * number / n, partial(self._begin, pattern))

    def _begin(self, pattern: str) -> None:
        self.begin(pattern)

    # ------------------------------------------------------------------------------------------------- visitors
    def move_habits(self, by: Mapping[str, float]) -> None:
        """Honest people do some things more often or more rarely, by so much in share of visits."""
        habits = self.simulation.buyers.habits
        moved = {name: min(1.0, max(0.0, getattr(habits, name) + self.share * step)) for name, step in by.items()}
        self.simulation.buyers.habits = replace(habits, **moved)

    def shift_demand(self, factor: float) -> None:
        """Every buyer is willing to pay `factor` times as much from now on."""
        self.simulation.world.shift_demand(float(factor**self.share))

    def hot_events(self) -> list[Event]:
        """Those that sell now and do not start today, most seats left first; the same whenever a run asks again."""
        if not self._hot:
            now_us, remaining = self.simulation.engine.now_us, self.simulation.inventory.remaining
            events = self.simulation.world.events
            selling = [event for event in events if event.on_sale_us <= now_us < event.starts_us - DAY_US]
            self._hot.extend(sorted(selling, key=lambda event: (-remaining[event.event_id], event.event_id)))
        return self._hot

    def focus(self, event: Event, share: float) -> None:
        """An event gets this share of all looks from now on, were the others to get what they get now."""
        world, share = self.simulation.world, share * self.share
        weights = world.attention.at(self.simulation.engine.now_us)
        own = float(weights[world.events.index(event)])
        if own > 0:
            self._turn(event.event_id, share / (1 - share) * (float(weights.sum()) - own) / own)

    def unfocus(self) -> None:
        """Every event gets again the attention it had before it was in focus."""
        for event_id, factor in list(self._focused.items()):
            self._turn(event_id, 1 / factor)
        self._focused.clear()

    def _turn(self, event_id: str, factor: float) -> None:
        self._focused[event_id] = self._focused.get(event_id, 1.0) * factor
        self.simulation.world.focus(event_id, factor)
