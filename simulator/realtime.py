"""The shop, live: real messages on Kafka at the pace of the wall clock, real quotes, real verdicts."""

import time
from collections.abc import Callable
from random import Random
from threading import Thread

from ibook.clock import Clock, SystemClock, to_us
from ibook.errors import ConfigurationError
from ibook.messages import FraudVerdict, Message, PurchaseRequested
from ibook.settings import Settings
from ibook.topics import TICKET_ACTIVITY, TICKET_PURCHASES, Topic
from simulator.engine import SECOND_US
from simulator.fraudsters import CAMPAIGNS, LIVE_TEMPO
from simulator.garbage import Garbage
from simulator.loop import Inbox, Loop
from simulator.mix import Mix, begin_background
from simulator.pacing import steady
from simulator.quotes import HttpPrices
from simulator.scoreboard import Scoreboard
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.sinks import KafkaSink
from simulator.stats import ShopStats, snapshot
from simulator.storefront import ListPrices
from simulator.truth import Truth
from simulator.verdicts import VerdictReader
from simulator.world import World

WARM_UP_SECONDS = (12.0, 40.0)
"""Visits simulated, but not published, before the doors open: the first second is like every other. A busy shop
takes the shorter one, which costs a few seconds of computing at 1,000 purchases/s, and is whole a little later."""
WARM_UP_PURCHASES = 4_000


class RealtimeShop:
    """Plays the shop until it is stopped. Any thread may call its methods.

    Life: `start()`, then load; `end_load()`, `drain(timeout)` until every purchase has a verdict, `stop()`.
    While it is open the process does without full garbage collections: they would stop the shop for half a second.

    `on_purchase` gets each purchase, `on_verdict` each first verdict and its latency in seconds; both are called in
    the shop's own thread and must be quick.
    """

    def __init__(
        self, world: World, settings: Settings, rate: float, seed: int, *,
        on_purchase: Callable[[PurchaseRequested], None] | None = None,
        on_verdict: Callable[[FraudVerdict, float], None] | None = None,
        rules: ShopRules | None = None, mix: Mix | None = None, ask_quotes: bool = True, clock: Clock | None = None,
        run: str = "",
    ) -> None:  # fmt: skip
        if rate <= 0:
            raise ConfigurationError(f"The rate of purchases must be above 0, not {rate}.")
        self.rate, self._world, self._mix = rate, world, mix or Mix()
        self._on_purchase, self._on_verdict = on_purchase, on_verdict
        self._clock = clock or SystemClock()
        self._inbox = Inbox()
        self._sink = KafkaSink(settings, on_lost=self._lost)
        self._prices = HttpPrices(settings, self._inbox.put) if ask_quotes else None
        self._reader = VerdictReader(settings, self._verdict_read)
        self._schedule_rng = Random(f"{seed}/{run}/schedule")
        self._launched: set[int] = set()
        self._warm_up_us = int(max(WARM_UP_SECONDS[0], min(WARM_UP_SECONDS[1], WARM_UP_PURCHASES / rate)) * SECOND_US)
        start_us = to_us(self._clock.now()) - self._warm_up_us
        setup = Setup(
            seed=seed, run=run or f"realtime/{start_us}", start_us=start_us,
            opens_us=start_us + self._warm_up_us // 4, punctual=True, per_second=rate,
            rules=rules or ShopRules(), tempo=LIVE_TEMPO, prices=ListPrices(), mix=self._mix,
        )  # fmt: skip
        slots = steady(start_us, rate, self._schedule_rng)
        self._simulation = Simulation(world, setup, slots, write=self._write, asked=self._asked)
        self._loop = Loop(self._simulation.engine, self._clock, self._inbox, self._sink.poll)
        self._board = Scoreboard(self._simulation.truth)
        self._garbage = Garbage()
        self._thread = Thread(target=self._run, name="shop", daemon=True)
        self._started_us = self._ended_us = 0
        self._running = False
        self.failure: BaseException | None = None
        """What ended the shop's thread, if it was not `stop()`."""

    # -------------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Fill the shop with visitors, announce events, open the doors. Takes a moment for high rates.

        Raises BrokerUnavailable when Kafka does not answer, ConfigurationError when a topic is not there.
        """
        self._sink.check()
        self._reader.start()
        if self._prices is not None:
            self._prices.start()
        self._fill()
        self._garbage.hold_back()
        self._open()
        self._started_us = self._simulation.engine.now_us
        self._running = True
        self._thread.start()

    def end_load(self) -> None:
        """No more visits, purchases or activity; what was begun is settled."""
        with self._loop.lock:
            if not self._ended_us:
                self._ended_us = to_us(self._clock.now())
            self._simulation.crowd.stop()
            self._simulation.shop.is_selling = self._simulation.storefront.is_open = False
            self._simulation.feed.muted.add(TICKET_ACTIVITY.name)

    def drain(self, timeout: float) -> bool:
        """Wait until every purchase has a verdict and is settled or turned down; False when time runs out first."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._running:
            with self._loop.lock:
                if not self._board.missing and not self._simulation.shop.unsettled:
                    return True
            time.sleep(0.02)
        with self._loop.lock:
            return not self._board.missing

    def stop(self) -> None:
        """End the load, and everything else, at a message boundary; returns when Kafka has it all or is away."""
        self.end_load()
        self._running = False
        if self._thread.is_alive():
            self._thread.join(10)
        if self._prices is not None:
            self._prices.stop()
        self._reader.stop()
        self._sink.flush()
        self._garbage.let_go()

    # --------------------------------------------------------------------------------------------------- use
    def launch_attack(self, pattern: str) -> int:
        """Begin a campaign on top of the load; its number in `stats().attacks`.

        Raises ConfigurationError for an unknown pattern and when the shop is not open.
        """
        if pattern not in CAMPAIGNS:
            raise ConfigurationError(f"There is no attack {pattern!r}, only {', '.join(CAMPAIGNS)}.")
        if not self._running or self._ended_us:
            raise ConfigurationError("The shop is closed: nothing to attack.")
        with self._loop.lock:
            self._simulation.engine.advance_to(to_us(self._clock.now()))
            number = self._simulation.fraudsters.launch(pattern)
            assert number is not None
            self._launched.add(number)
        return number

    def publish_raw(self, topic: str, key: str, payload: bytes) -> None:
        """Publish any bytes, such as a message that nobody can read; nothing here counts it."""
        self._sink.write_raw(topic, key, payload)

    def latencies(self) -> list[float]:
        """Seconds from just before each purchase was produced until its verdict was readable, in verdict order."""
        with self._loop.lock:
            return self._board.latencies.tolist()

    @property
    def truth(self) -> Truth:
        """The hidden truth so far; still growing while the shop is open."""
        return self._simulation.truth

    def stats(self) -> ShopStats:
        """What happened so far; a consistent snapshot."""
        with self._loop.lock:
            return snapshot(
                self._simulation, self._board, self._loop, rate=self.rate, seconds=self._seconds(),
                unquoted=None if self._prices is None else self._prices.unquoted,
                unreadable=self._reader.unreadable, undelivered=self._sink.undelivered,
            )  # fmt: skip

    def _seconds(self) -> float:
        return ((self._ended_us or to_us(self._clock.now())) - self._started_us) / SECOND_US

    # ---------------------------------------------------------------------------------------- the shop's thread
    def _run(self) -> None:
        try:
            while self._running:
                self._loop.turn()
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._running = False

    def _fill(self) -> None:
        simulation = self._simulation
        simulation.shop.is_selling = simulation.feed.is_open = False
        simulation.crowd.begin(simulation.buyers.arrivals)
        simulation.engine.run_until(simulation.engine.now_us + self._warm_up_us)

    def _open(self) -> None:
        simulation = self._simulation
        simulation.shop.is_selling = simulation.feed.is_open = True
        simulation.storefront.forget(self._prices or ListPrices())
        simulation.engine.move_to(to_us(self._clock.now()))
        simulation.shop.announce(self._world.events)
        start_us = simulation.engine.now_us
        simulation.crowd.follow(steady(start_us, self.rate, self._schedule_rng))
        begin_background(
            simulation.engine, simulation.fraudsters, self._mix,
            lambda share: steady(start_us, share * self.rate, self._schedule_rng),
        )  # fmt: skip

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        if topic is TICKET_PURCHASES and isinstance(message, PurchaseRequested):
            self._board.purchase_sent(message.transaction_id, time.perf_counter())
        self._sink.write(topic.name, key, message)

    def _asked(self, purchase: PurchaseRequested) -> None:
        record = self.truth.transactions[purchase.transaction_id]
        if (record.is_fraud or record.is_abuse) and record.attack not in self._launched:
            self._simulation.crowd.make_room()
        if self._on_purchase is not None:
            self._on_purchase(purchase)

    def _lost(self, transaction_id: str) -> None:
        self._board.purchase_lost(transaction_id)

    def _verdict_read(self, verdict: FraudVerdict, readable_at: float) -> None:
        self._inbox.put(lambda: self._take_verdict(verdict, readable_at))

    def _take_verdict(self, verdict: FraudVerdict, readable_at: float) -> None:
        if self._board.verdict_read(verdict.transaction_id, verdict.action, readable_at):
            self._simulation.shop.on_verdict(verdict.transaction_id, verdict.action)
            if self._on_verdict is not None:
                self._on_verdict(verdict, self._board.latencies[-1])
