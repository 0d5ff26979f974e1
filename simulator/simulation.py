"""A world, its shop and its visitors put together; what differs between history and realtime comes as arguments."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from ibook.messages import PurchaseRequested
from simulator.billboard import Billboard
from simulator.buyers import Buyers
from simulator.engine import Engine
from simulator.feed import Feed, Write
from simulator.fraudsters import Fraudsters, Tempo
from simulator.guests import Habits
from simulator.ids import Ids
from simulator.inventory import Inventory
from simulator.mix import Mix
from simulator.pacing import Crowd
from simulator.scene import Scene
from simulator.shop import Shop, ShopRules
from simulator.storefront import Prices, Storefront
from simulator.truth import Truth
from simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a run is made of. `run` names it: ids of messages and transactions hang on the seed and on `run`."""

    seed: int
    run: str
    draws: str = ""
    """Names what is drawn: runs that share the seed and this draw alike, whatever they are called; `run` if empty."""
    start_us: int
    opens_us: int
    """First payment; visits begin at `start_us`."""
    punctual: bool
    """Whether purchases follow the schedule one by one, or only in number."""
    per_second: float
    """Purchases on average."""
    rules: ShopRules
    tempo: Tempo
    prices: Prices
    mix: Mix = field(default_factory=Mix)
    habits: Habits = field(default_factory=Habits)


class Simulation:
    """Everything at work. `write` takes the messages, `asked` each purchase as it is published."""

    def __init__(
        self, world: World, setup: Setup, slots: Iterator[int], *, write: Write,
        asked: Callable[[PurchaseRequested], None],
    ) -> None:  # fmt: skip
        def rng(purpose: str) -> Random:
            return Random(f"{setup.seed}/{setup.draws or setup.run}/{purpose}")

        self.engine = engine = Engine(setup.start_us)
        self.world = world.at_work(lambda: engine.now_us, lambda what: self.truth.changed(engine.now_us, what))
        self.feed = Feed(engine, Ids(f"{setup.seed}/{setup.run}"), write)
        self.truth = Truth(self.world)
        events = tuple(event.as_of(setup.start_us) for event in world.events)
        self.inventory = Inventory(
            events, engine, self.feed, interval_seconds=setup.rules.inventory_interval, sold_out=self.world.sold_out
        )
        self.storefront = Storefront(self.feed, self.inventory, setup.prices)
        self.shop = Shop(self.engine, self.feed, self.inventory, self.truth, rng("shop"), setup.rules, asked)
        self._billboard = Billboard(world.events, engine, self.feed, self.shop)
        scene = Scene(self.world, self.engine, self.storefront, self.shop, self.truth)
        self.crowd = Crowd(
            self.engine, slots, per_second=setup.per_second, opens_us=setup.opens_us, punctual=setup.punctual
        )
        self.buyers = Buyers(scene, rng("buyers"), self.crowd.door, setup.habits, self.crowd.missed)
        self.fraudsters = Fraudsters(scene, rng("fraudsters"), setup.tempo)

    def announce(self) -> None:
        """Publish what is listed now, seats and competitors' prices; what comes later is published when it is due."""
        self._billboard.open()
