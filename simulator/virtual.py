"""A scenario in virtual time: no platform, no waiting; a stated policy decides, and every seed gives the same bytes."""

from collections.abc import Callable, Sequence
from random import Random

from ibook.messages import Action, Message, PurchaseRequested
from ibook.topics import Topic
from simulator.chronicle import Chronicle
from simulator.engine import SECOND_US
from simulator.scenarios import Scenario
from simulator.scenarios.play import Play
from simulator.shop import ShopRules
from simulator.sinks import Sink
from simulator.standin import StandInPolicy
from simulator.storefront import ListPrices
from simulator.world import World

VERDICT_SECONDS = 0.02
SETTLE_SECONDS = 30.0
"""Longest a purchase takes after the load has ended: a review, then its settlement."""
STEPS_PER_LOOK = 500
"""Steps between two questions whether to go on."""


class VirtualShop:
    """Plays a scenario from `now_us` for `seconds` of its own time, into a sink that the caller closes.

    `attacks` are launched at the start, on top of the load.
    """

    def __init__(
        self, world: World, scenario: Scenario, sink: Sink, *, rate: float, seconds: float, seed: int, now_us: int,
        rules: ShopRules | None = None, chronicle: Chronicle | None = None, attacks: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._sink, self._now_us, self._seconds, self._attacks = sink, now_us, seconds, attacks
        run = f"virtual/{scenario.name}/{now_us}/{rate}/{seconds}"
        self._ended_us: int | None = None
        self._policy = StandInPolicy(Random(f"{seed}/{run}/policy"))
        self.actions: dict[str, Action] = {}
        """What the policy decided, by transaction."""
        self.messages = 0
        """Those written so far, damaged and repeated ones included."""
        self.play = Play(
            world, scenario, seed=seed, run=run, per_second=rate, seconds=seconds, now_us=now_us,
            rules=rules or ShopRules(), write=self._write, write_raw=self._write_raw, asked=self._decide,
            chronicle=chronicle,
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        """Length of the load so far, in its own time."""
        until_us = self.play.simulation.engine.now_us if self._ended_us is None else self._ended_us
        return max(0.0, (until_us - self._now_us) / SECOND_US)

    def run(self, go_on: Callable[[], bool] = lambda: True) -> None:
        """Play until the end, or at a message boundary as soon as `go_on` says no; begun purchases are settled."""
        self.play.fill()
        self.play.open(self._now_us, ListPrices())
        for pattern in self._attacks:
            self.play.launch(pattern)
        self._run_until(self._now_us + int(self._seconds * SECOND_US), go_on)
        self._ended_us = self.play.simulation.engine.now_us
        self.play.close()
        engine, shop = self.play.simulation.engine, self.play.simulation.shop
        self._run_until(engine.now_us + int(SETTLE_SECONDS * SECOND_US), lambda: shop.unsettled > 0)

    def _run_until(self, end_us: int, go_on: Callable[[], bool]) -> None:
        engine = self.play.simulation.engine
        steps = 0
        while (due_us := engine.next_due_us) is not None and due_us <= end_us:
            engine.run_next()
            steps += 1
            if steps % STEPS_PER_LOOK == 0 and not go_on():
                return
        engine.advance_to(end_us)

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        self.messages += 1
        self._sink.write(topic.name, key, message)

    def _write_raw(self, topic: Topic, key: str, payload: bytes, transaction_id: str) -> None:
        self.messages += 1
        self._sink.write_raw(topic.name, key, payload, transaction_id)

    def _decide(self, purchase: PurchaseRequested) -> None:
        action = self._policy.decide(purchase)
        self.actions[purchase.transaction_id] = action
        simulation = self.play.simulation
        simulation.engine.after(VERDICT_SECONDS, lambda: simulation.shop.on_verdict(purchase.transaction_id, action))
