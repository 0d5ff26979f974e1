"""The shop, live: real messages on Kafka at the pace of the wall clock, real quotes, real verdicts."""

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Thread

from ibook.clock import Clock, SystemClock, to_us
from ibook.errors import ConfigurationError
from ibook.messages import FraudVerdict, Message, PurchaseRequested
from ibook.settings import Settings
from ibook.topics import TICKET_PURCHASES, Topic
from simulator.chronicle import Chronicle
from simulator.engine import SECOND_US
from simulator.fraudsters import CAMPAIGNS
from simulator.lateness import Lateness
from simulator.loop import Inbox, Loop
from simulator.mix import Mix
from simulator.quotes import HttpPrices
from simulator.scenarios import SCENARIOS, Scenario
from simulator.scenarios.play import Play
from simulator.scoreboard import Scoreboard
from simulator.shop import ShopRules
from simulator.sinks import KafkaSink
from simulator.stats import MOST_SECONDS_LATE, ShopStats, Standing, most_owed, snapshot, standing
from simulator.storefront import ListPrices
from simulator.truth import Truth
from simulator.undisturbed import Undisturbed
from simulator.verdicts import VerdictReader
from simulator.world import World

CHECK_SECONDS = 1.0
"""How often it is checked whether the machine keeps up."""


class RealtimeShop:
    """Plays the shop until it is stopped. Any thread may call its methods.

    Life: `start()`, then load; `end_load()`, `drain(timeout)` until every purchase has a verdict, `stop()`.
    While it is open the process does without garbage collections: they would stop the shop again and again.

    `on_purchase` gets each purchase, `on_verdict` each first verdict and its latency in seconds; both are called in
    the shop's own thread and must be quick.

    Ids hang on the instant the shop was made at, unless it has a name (`run`): no two runs share one. What is drawn
    hangs on the seed and the scenario alone. Runs that begin together decide alike, as long as they are answered
    alike; with the minutes between two beginnings events come nearer, and who looks at which changes.
    """

    def __init__(
        self, world: World, settings: Settings, rate: float, seed: int, *,
        on_purchase: Callable[[PurchaseRequested], None] | None = None,
        on_verdict: Callable[[FraudVerdict, float], None] | None = None,
        rules: ShopRules | None = None, mix: Mix | None = None, ask_quotes: bool = True, clock: Clock | None = None,
        run: str = "", scenario: Scenario | None = None, seconds: float | None = None,
        chronicle: Chronicle | None = None,
    ) -> None:  # fmt: skip
        if rate <= 0:
            raise ConfigurationError(f"The rate of purchases must be above 0, not {rate}.")
        scenario = scenario or SCENARIOS["normal"]
        self.rate = rate
        self._on_purchase, self._on_verdict = on_purchase, on_verdict
        self._clock = clock or SystemClock()
        self._inbox = Inbox()
        self._sink = KafkaSink(settings, on_lost=self._lost)
        self._prices = HttpPrices(settings, self._inbox.put) if ask_quotes else None
        self._reader = VerdictReader(settings, self._verdict_read)
        now_us = to_us(self._clock.now())
        self.play = Play(
            world, scenario if mix is None else replace(scenario, mix=mix), seed=seed, run=run or f"realtime/{now_us}",
            per_second=rate, seconds=seconds, now_us=now_us, rules=rules or ShopRules(), write=self._write,
            write_raw=self._write_raw, asked=self._asked, chronicle=chronicle, draws=f"realtime/{scenario.name}",
        )  # fmt: skip
        """The scenario at work; to be looked at when the shop has stopped."""
        self._simulation = self.play.simulation
        self._loop = Loop(self._simulation.engine, self._clock, self._inbox, self._sink.poll)
        self.board = Scoreboard(self._simulation.truth)
        """Verdicts against purchases; to be looked at when the shop has stopped."""
        self.pacing_error = Lateness()
        """How late each message that was due was handed to Kafka's client; what follows an answer at once never is."""
        self.damaged_answered: set[str] = set()
        """Transactions of damaged purchases that got a verdict."""
        self._undisturbed = Undisturbed()
        self._thread = Thread(target=self._run, name="shop", daemon=True)
        self._ended_us = 0
        self._seconds_behind = 0.0
        self._running = False
        self.failure: BaseException | None = None
        """What ended the shop's thread, if it was not `stop()`."""

    # -------------------------------------------------------------------------------------------------- life
    def check(self) -> None:
        """Whether there is somebody to sell to. Raises BrokerUnavailable when Kafka does not answer."""
        self._sink.check()

    def start(self) -> None:
        """Fill the shop with visitors, announce events, open the doors. Takes a moment for high rates.

        Raises BrokerUnavailable when Kafka does not answer, ConfigurationError when a topic is not there.
        """
        self.check()
        self._reader.start()
        if self._prices is not None:
            self._prices.start()
        self._undisturbed.begin()
        self.play.fill()
        self.play.open(to_us(self._clock.now()), self._prices or ListPrices())
        self._simulation.engine.after(CHECK_SECONDS, self._check_pace)
        self._running = True
        self._thread.start()

    def end_load(self) -> None:
        """No more visits, purchases or activity; what was begun is settled."""
        with self._loop.lock:
            if not self._ended_us:
                self._ended_us = to_us(self._clock.now())
            self.play.close()

    def drain(self, timeout: float) -> bool:
        """Wait until every purchase has a verdict and is settled or turned down; False when time runs out first."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._running:
            with self._loop.lock:
                if not self.board.missing and not self._simulation.shop.unsettled:
                    return True
            time.sleep(0.02)
        with self._loop.lock:
            return not self.board.missing

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
        self._undisturbed.end()

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
            number = self.play.launch(pattern)
            assert number is not None
        return number

    def publish_raw(self, topic: str, key: str, payload: bytes) -> None:
        """Publish any bytes, such as a message that nobody can read; nothing here counts it."""
        self._sink.write_raw(topic, key, payload)

    def latencies(self) -> list[float]:
        """Seconds from just before each purchase was produced until its verdict was readable, in verdict order."""
        with self._loop.lock:
            return self.board.latencies.tolist()

    @property
    def truth(self) -> Truth:
        """The hidden truth so far; still growing while the shop is open."""
        return self._simulation.truth

    def standing(self) -> Standing:
        """How it goes: quick however long the shop has been open, as it stands still meanwhile."""
        with self._loop.lock:
            return standing(
                self._simulation, self.board, self._loop, rate=self.rate, rate_due=self.play.rate_now,
                seconds=self.seconds,
            )  # fmt: skip

    def stats(self) -> ShopStats:
        """What happened so far; a consistent snapshot."""
        with self._loop.lock:
            return snapshot(
                self.standing(), self._simulation, self.board, self._loop, seconds_behind=self._seconds_behind,
                pacing_error=self.pacing_error, unquoted=None if self._prices is None else self._prices.unquoted,
                unreadable=self._reader.unreadable, undelivered=self._sink.undelivered,
            )  # fmt: skip

    @property
    def seconds(self) -> float:
        """Length of the load so far."""
        return ((self._ended_us or to_us(self._clock.now())) - self.play.started_us) / SECOND_US

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

    def _check_pace(self) -> None:
        late = self._loop.lag_seconds > MOST_SECONDS_LATE or self._simulation.crowd.owed > most_owed(self.play.rate_now)
        self._seconds_behind += CHECK_SECONDS * late
        self._simulation.engine.after(CHECK_SECONDS, self._check_pace)

    def _write(self, topic: Topic, key: str, message: Message) -> None:
        if topic is TICKET_PURCHASES and isinstance(message, PurchaseRequested):
            self.board.purchase_sent(message.transaction_id, time.perf_counter())
        self._sink.write(topic.name, key, message)
        late_us = self._loop.late_us
        if self._running and late_us is not None:
            self.pacing_error.note(late_us)

    def _write_raw(self, topic: Topic, key: str, payload: bytes, transaction_id: str) -> None:
        self._sink.write_raw(topic.name, key, payload, transaction_id)

    def _asked(self, purchase: PurchaseRequested) -> None:
        if self._on_purchase is not None:
            self._on_purchase(purchase)

    def _lost(self, transaction_id: str) -> None:
        self.board.purchase_lost(transaction_id)

    def _verdict_read(self, verdict: FraudVerdict, readable_at: float) -> None:
        self._inbox.put(lambda: self._take_verdict(verdict, readable_at))

    def _take_verdict(self, verdict: FraudVerdict, readable_at: float) -> None:
        if self.play.degraded is not None and verdict.transaction_id in self.play.degraded.identifiable:
            self.damaged_answered.add(verdict.transaction_id)
            return
        if self.board.verdict_read(verdict.transaction_id, verdict.action, readable_at):
            self._simulation.shop.on_verdict(verdict.transaction_id, verdict.action)
            if self._on_verdict is not None:
                self._on_verdict(verdict, self.board.latencies[-1])
