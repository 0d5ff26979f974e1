"""The past of a world: the same messages as realtime, in event time, as fast as they can be written."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from math import ceil
from random import Random

import numpy as np
from numpy.typing import NDArray

from ibook.clock import to_us
from ibook.errors import ConfigurationError
from ibook.messages import Message, PurchaseRequested
from ibook.topics import Topic
from simulator.attention import HOUR_US
from simulator.engine import SECOND_US
from simulator.feed import Write
from simulator.fraudsters import Tempo
from simulator.mix import Mix, begin_background
from simulator.pacing import busyness, following, middles
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.standin import StandInPolicy
from simulator.storefront import ListPrices
from simulator.truth import Truth
from simulator.world import LOOK_AHEAD_DAYS, World, WorldSize

LABEL_DAYS = 360.0
"""A history is so many days of label delay long: the median chargeback takes a twelfth of it, the cap a third."""
DAY_SECONDS = 86_400.0
RUSH = 5.0
"""A past of hours is there to fill windows and to learn from: one opening of a sale must not be all of it."""
VERDICT_SECONDS = 0.02
STEPS = 100
"""So many steps at a time; their messages wait together."""


class History:
    """Iterate it for (topic name, key, message) in the order of `occurred_at`; `truth` is whole at the end.

    Every iteration begins anew and gives the same messages. About `purchases` purchases spread over `hours` up to
    `end`; verdicts are a stand-in's, tickets are sold at list price.

    Without `compress` the longest label delays are squeezed into a third of the past, whatever its length; with it
    delays are those of life divided by it. `rush` limits how much busier than usual the opening of a sale can be.
    """

    def __init__(
        self, seed: int, end: datetime, hours: float, purchases: int, *, size: WorldSize | None = None,
        mix: Mix | None = None, compress: float | None = None, rush: float = RUSH,
    ) -> None:  # fmt: skip
        if hours <= 0 or purchases <= 0:
            raise ValueError(f"a history needs time and purchases, not {hours} hours and {purchases} purchases")
        self.seed, self.purchases = seed, purchases
        self.end_us = to_us(end)
        self.start_us = self.end_us - int(hours * HOUR_US)
        self.mix = mix or Mix()
        self.world = World(seed, end, size or size_of(hours))
        self.truth = Truth(self.world)
        self._rush, self._stopped = rush, False
        self._label_day_seconds = DAY_SECONDS / compress if compress else hours * 3600 / LABEL_DAYS

    def stop(self) -> None:
        """Let the iteration at hand end soon, when all messages are told that belong to the truth so far."""
        self._stopped = True

    def __iter__(self) -> Iterator[tuple[str, str, Message]]:
        self._stopped = False
        outbox: list[tuple[str, str, Message]] = []

        def write(topic: Topic, key: str, message: Message) -> None:
            outbox.append((topic.name, key, message))

        simulation = self._simulate(write)
        self.truth = simulation.truth
        simulation.announce()
        while not self._stopped and simulation.engine.run_some(self.end_us, STEPS):
            yield from outbox
            outbox.clear()
        yield from outbox

    def _simulate(self, write: Write) -> Simulation:
        seconds = (self.end_us - self.start_us) / SECOND_US
        n_honest = max(1, round(self.purchases * (1 - self.mix.total)))
        run = f"history/{self.start_us}/{self.end_us}/{self.purchases}"
        rng = Random(f"{self.seed}/{run}/slots")
        policy = StandInPolicy(Random(f"{self.seed}/{run}/policy"))
        rules = replace(ShopRules(), label_day_seconds=self._label_day_seconds)
        setup = Setup(
            seed=self.seed, run=run, start_us=self.start_us, opens_us=self.start_us, punctual=False,
            per_second=n_honest / seconds, rules=rules, tempo=Tempo(), prices=ListPrices(), mix=self.mix,
        )  # fmt: skip

        def asked(purchase: PurchaseRequested) -> None:
            action = policy.decide(purchase)
            simulation.engine.after(
                VERDICT_SECONDS, lambda: simulation.shop.on_verdict(purchase.transaction_id, action)
            )

        load = self._load()
        slots = following(self.start_us, self.end_us, load, n_honest, rng)
        simulation = Simulation(self.world, setup, slots, write=write, asked=asked)
        simulation.crowd.begin(simulation.buyers.arrivals)
        begin_background(
            simulation.engine, simulation.fraudsters, self.mix,
            lambda share: self._campaigns(share, load, rng), (self.start_us, self.end_us),
        )  # fmt: skip
        return simulation

    def _load(self) -> NDArray[np.float64]:
        """How busy the shop is, per step: as the events on sale are looked at, by day, week and season."""
        instants = middles(self.start_us, self.end_us)
        looked_at = self.world.attention.over(instants)
        if not looked_at.any():
            raise ConfigurationError("Nothing is on sale in that time: more events, or a longer past, are needed.")
        return np.minimum(looked_at, self._rush * np.median(looked_at[looked_at > 0])) * busyness(instants)

    def _campaigns(self, share: float, load: NDArray[np.float64], rng: Random) -> Iterator[int]:
        """Instants, so many per purchase, when there is something to be had as much as when there are honest buyers.

        A part of one is one by chance, so that a short past has no more fraud.
        """
        n = int(share * self.purchases + rng.random())
        return following(self.start_us, self.end_us, load, n, rng) if n else iter(())


def size_of(hours: float) -> WorldSize:
    """The usual world with, for a past of many days, as many more events as were over before its end."""
    usual = WorldSize()
    past_days = max(usual.past_days, ceil(hours / 24) + 1)
    usual_days = LOOK_AHEAD_DAYS + usual.past_days
    events = round(usual.events * (LOOK_AHEAD_DAYS + past_days) / usual_days)
    return replace(usual, past_days=past_days, events=events)


def generate(seed: int, end: datetime, hours: float, purchases: int) -> History:
    """The past of the world `seed` up to `end`. Raises ValueError when there is no time or nothing to buy."""
    return History(seed, end, hours, purchases)
