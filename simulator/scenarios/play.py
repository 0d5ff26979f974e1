"""A scenario put on a simulation: the shop filled with visitors, opened, and led through the run's turns."""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from ibook.errors import ConfigurationError
from ibook.messages import Message, PurchaseRequested
from ibook.topics import TICKET_ACTIVITY, Topic
from simulator.attacks import PATTERNS
from simulator.chronicle import Chronicle
from simulator.degradation import Degraded, WriteRaw
from simulator.engine import SECOND_US
from simulator.feed import Write
from simulator.fraudsters import LIVE_TEMPO
from simulator.ids import Ids
from simulator.mix import Mix, begin_background
from simulator.pacing import steady
from simulator.record import Change
from simulator.scenarios.curve import Curve, constant
from simulator.scenarios.scenario import Scenario, Turn
from simulator.scenarios.stage import Stage
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.storefront import ListPrices, Prices
from simulator.world import World

WARM_UP_SECONDS = (12.0, 40.0)
"""Visits simulated, but not published, before the doors open: the first second is like every other. A busy shop
takes the shorter one, which costs a few seconds of computing at 1,000 purchases/s, and is whole a little later."""
WARM_UP_PURCHASES = 4_000
TICK_SECONDS = 0.5
"""How often the crowd is told how busy it is."""
DEGRADED_SHARES = (0.2, 0.85)
"""When messages come to harm: before and after them there is something to compare with."""


class Play:
    """Life: `fill()`, `open()`, then the engine is run by whoever keeps the time, then `close()`.

    `per_second` purchases on average for `seconds`; without `seconds` for ever, which only a scenario without turns
    and of a constant rate can be. `now_us` is when the doors are to open, about; `write` takes messages as they leave.
    Ids hang on the seed and `run`; what is drawn hangs on the seed and `draws`, or on `run` without.
    """

    def __init__(
        self, world: World, scenario: Scenario, *, seed: int, run: str, per_second: float, seconds: float | None,
        now_us: int, rules: ShopRules, write: Write, write_raw: WriteRaw, asked: Callable[[PurchaseRequested], None],
        chronicle: Chronicle | None = None, draws: str = "",
    ) -> None:  # fmt: skip
        if seconds is None and (scenario.turns or scenario.degradation or scenario.rate is not constant):
            raise ConfigurationError(f"The scenario {scenario.name} needs a duration: its turns are shares of it.")
        self.scenario, self.per_second, self.seconds = scenario, per_second, seconds
        self._world, self._asked, self.chronicle = world, asked, chronicle
        self._curve = Curve(scenario.rate)
        self._rng = Random(f"{seed}/{draws or run}/schedule")
        self._launched: set[int] = set()
        self.changes: list[Change] = []
        """What was done to the world so far."""
        self.started_us = 0
        start_rate = per_second * self._curve.factor(0.0)
        warm_up = max(WARM_UP_SECONDS[0], min(WARM_UP_SECONDS[1], WARM_UP_PURCHASES / max(start_rate, 0.1)))
        self._warm_up_us = int(warm_up * SECOND_US)
        start_us = now_us - self._warm_up_us
        setup = Setup(
            seed=seed, run=run, draws=draws, start_us=start_us, opens_us=start_us + self._warm_up_us // 4,
            punctual=True, per_second=max(start_rate, 0.1), rules=rules, tempo=LIVE_TEMPO, prices=ListPrices(),
            mix=scenario.mix, habits=scenario.habits,
        )  # fmt: skip
        slots = steady(start_us, max(start_rate, 0.1), self._rng)
        self.simulation = Simulation(world, setup, slots, write=self._write, asked=self._make_room)
        self.degraded: Degraded | None = None
        self._leave = write
        if scenario.degradation is not None:
            rng, ids = Random(f"{seed}/{draws or run}/degradation"), Ids(f"{seed}/{run}/damaged")
            self.degraded = Degraded(scenario.degradation, self.simulation.engine, rng, ids, write, write_raw)
            self._leave = self.degraded.write

    @property
    def rate_now(self) -> float:
        """Purchases per second that are due at this moment, on average."""
        if self.seconds is None:
            return self.per_second
        share = (self.simulation.engine.now_us - self.started_us) / SECOND_US / self.seconds
        return self.per_second * self._curve.factor(share)

    def rate_until(self, seconds: float) -> float:
        """Purchases per second that were due on average in the first `seconds`: of a run that was stopped, too."""
        if self.seconds is None or seconds <= 0:
            return self.per_second
        return self.per_second * self._curve.done(min(1.0, seconds / self.seconds)) * self.seconds / seconds

    def fill(self) -> None:
        """Let visitors come in, of whom nothing is published."""
        simulation = self.simulation
        simulation.shop.is_selling = simulation.feed.is_open = False
        simulation.crowd.begin(simulation.buyers.arrivals)
        simulation.engine.run_until(simulation.engine.now_us + self._warm_up_us)

    def open(self, now_us: int, prices: Prices) -> None:
        """Announce what is on sale and begin: everything is told, sold and counted from now on."""
        simulation = self.simulation
        simulation.shop.is_selling = simulation.feed.is_open = True
        simulation.storefront.forget(prices)
        simulation.engine.move_to(now_us)
        self.started_us = now_us
        if self.chronicle is not None:
            self.chronicle.opened(simulation)
        simulation.announce()
        simulation.crowd.follow(self._instants(1.0, self._curve))
        self._begin_background()
        self._expect_turns()
        if self.seconds is not None:
            self._tick()

    def launch(self, pattern: str) -> int | None:
        """Begin a campaign now, on top of the load; its number, None for one that has none."""
        number = self.simulation.fraudsters.launch(pattern)
        if number is not None:
            self._launched.add(number)
        return number

    def close(self) -> None:
        """No more visits, purchases or activity; what was begun is settled, what waits on its way is let out."""
        simulation = self.simulation
        simulation.crowd.stop()
        simulation.shop.is_selling = simulation.storefront.is_open = False
        simulation.feed.muted.add(TICKET_ACTIVITY.name)
        if self.degraded is not None:
            self.degraded.release()

    # ------------------------------------------------------------------------------------------------- the load
    def _instants(self, share: float, curve: Curve) -> Iterator[int]:
        per_second = share * self.per_second
        if self.seconds is None:
            return steady(self.started_us, per_second, self._rng)
        return curve.instants(self.started_us, self.seconds, per_second * self.seconds, self._rng)

    def _begin_background(self) -> None:
        span = None if self.seconds is None else (self.started_us, self.started_us + int(self.seconds * SECOND_US))
        for pattern, share in self.scenario.mix.shares.items():
            tide = self.scenario.tides.get(pattern)
            curve = self._curve if tide is None else Curve(tide)
            begin_background(
                self.simulation.engine, self.simulation.fraudsters, Mix({pattern: share}),
                partial(self._instants, curve=curve), span,
            )  # fmt: skip

    def _tick(self) -> None:
        rate = self.rate_now
        if rate > 0:
            self.simulation.crowd.expect(rate)
            self.simulation.engine.after(TICK_SECONDS, self._tick)

    # ------------------------------------------------------------------------------------------------ the turns
    def _expect_turns(self) -> None:
        if self.seconds is None:
            return
        stage = Stage(self.simulation, self.per_second * self.seconds, self.launch)
        for turn in self.scenario.turns:
            self._at(turn.at, partial(self._take, turn, stage))
        if self.degraded is not None:
            begin, end = DEGRADED_SHARES
            self._at(begin, partial(self._harm, "messages come late, twice, in another order, or broken", True))
            self._at(end, partial(self._harm, "messages come as they should again", False))

    def _at(self, share: float, do: Callable[[], None]) -> None:
        assert self.seconds is not None
        self.simulation.engine.at(self.started_us + round(share * self.seconds * SECOND_US), do)

    def _take(self, turn: Turn, stage: Stage) -> None:
        turn.do(stage)
        if turn.what:
            self._note(turn.what, is_drift=turn.is_drift)

    def _harm(self, what: str, begins: bool) -> None:
        assert self.degraded is not None
        if begins:
            self.degraded.begin()
        else:
            self.degraded.end()
        self._note(what)

    def _note(self, what: str, *, is_drift: bool = False) -> None:
        now_us = self.simulation.engine.now_us
        self.changes.append(Change(what=what, at_us=now_us, is_drift=is_drift))
        self.simulation.truth.changed(now_us, what)

    # --------------------------------------------------------------------------------------------- the messages
    def _write(self, topic: Topic, key: str, message: Message) -> None:
        if self.chronicle is not None:
            self.chronicle.note(message)
        self._leave(topic, key, message)

    def _make_room(self, purchase: PurchaseRequested) -> None:
        record = self.simulation.truth.transactions[purchase.transaction_id]
        if record.pattern in PATTERNS and record.attack not in self._launched:
            self.simulation.crowd.make_room()
        self._asked(purchase)
