"""Purchases follow an absolute schedule; the loop keeps the clock's pace and knows when it doesn't."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random

import pytest

from ibook.clock import ManualClock, to_us
from ibook.messages import PurchaseRequested
from simulator.attention import HOUR_US
from simulator.catalogue import Event, Ticket
from simulator.engine import SECOND_US, Engine, Process, Resume, Timer
from simulator.fraudsters import LIVE_TEMPO
from simulator.loop import MAX_STEPS, Loop
from simulator.mix import NO_FRAUD
from simulator.pacing import busyness, following, middles, steady
from simulator.shop import ShopRules
from simulator.simulation import Setup, Simulation
from simulator.visits import Offer
from simulator.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
START_US = to_us(NOW)
WORLD = World(5, NOW)


class Prices:
    """List prices times a factor that can change."""

    factor = 1.0

    def ask(self, event: Event, ticket: Ticket, buyer: str, key: str, answer: Callable[[Offer], None]) -> None:
        answer(Offer(round(ticket.list_price_minor * self.factor)))


class Open:
    """A shop that has been open for a while, whose purchases are all approved."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.prices = Prices()
        setup = Setup(
            seed=5, run="pacing", start_us=START_US, opens_us=START_US + 10 * SECOND_US, punctual=True,
            per_second=per_second, rules=ShopRules(), tempo=LIVE_TEMPO, prices=self.prices, mix=NO_FRAUD,
        )  # fmt: skip
        self.bought: list[PurchaseRequested] = []
        slots = steady(START_US, per_second, Random(1))
        self.simulation = Simulation(
            WORLD, setup, slots, write=lambda *_: None, asked=lambda purchase: self._approve(purchase)
        )
        self.engine = self.simulation.engine
        self.simulation.shop.is_selling = False
        self.simulation.crowd.begin(self.simulation.buyers.arrivals)
        self.engine.run_until(START_US + 40 * SECOND_US)
        self.simulation.shop.is_selling = True
        self.simulation.storefront.forget(self.prices)
        self.simulation.crowd.follow(steady(self.engine.now_us, per_second, Random(2)))

    def _approve(self, purchase: PurchaseRequested) -> None:
        self.bought.append(purchase)
        self.engine.after(0.01, lambda: self.simulation.shop.on_verdict(purchase.transaction_id, "approve"))

    def run(self, seconds: int) -> list[int]:
        """Purchases up to each second."""
        counts = []
        for _ in range(seconds):
            self.engine.run_until(self.engine.now_us + SECOND_US)
            counts.append(len(self.bought))
        return counts


@pytest.mark.parametrize("per_second", [2.0, 50.0])
def test_purchases_keep_to_the_schedule_second_by_second(per_second: float) -> None:
    for second, count in enumerate(Open(per_second).run(60), start=1):
        assert abs(count - per_second * second) <= max(3.0, 0.1 * per_second)


def test_a_price_rise_slows_no_purchases_but_needs_more_visitors() -> None:
    shop = Open(50.0)
    assert shop.run(20)[-1] == pytest.approx(1000, abs=5)
    shown = shop.simulation.storefront.shown
    at_list = shown.total()
    shop.prices.factor = 1.3
    assert shop.run(20)[-1] == pytest.approx(2000, abs=5)
    before = shown.total()
    assert shop.run(20)[-1] == pytest.approx(3000, abs=5)
    assert shown.total() - before > 1.15 * at_list


class Expiring(Prices):
    """Quotes that run out after two seconds."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.ends_us: dict[str, int] = {}

    def ask(self, event: Event, ticket: Ticket, buyer: str, key: str, answer: Callable[[Offer], None]) -> None:
        self.ends_us[key] = self.engine.now_us + 2 * SECOND_US
        answer(Offer(ticket.list_price_minor, key, self.ends_us[key]))


def test_nobody_pays_by_a_quote_that_has_run_out() -> None:
    shop = Open(20.0)
    prices = Expiring(shop.engine)
    shop.simulation.storefront.forget(prices)
    assert shop.run(30)[-1] == pytest.approx(600, abs=5)
    quoted = [purchase for purchase in shop.bought if purchase.quote_id is not None]
    assert len(quoted) > 300
    assert all(to_us(purchase.occurred_at) < prices.ends_us[purchase.quote_id or ""] for purchase in quoted)


def test_other_peoples_purchases_take_a_place_but_never_more_than_every_second() -> None:
    shop = Open(20.0)
    for _ in range(100):
        shop.simulation.crowd.make_room()
    counts = shop.run(20)
    assert counts[4] == pytest.approx(50, abs=5)
    assert counts[-1] == pytest.approx(300, abs=5)


def test_who_finds_no_seats_at_the_door_leaves_no_gap_in_the_schedule() -> None:
    """Events sell out between the choice and the payment: somebody else pays instead."""
    shop = Open(20.0)
    inventory, missed = shop.simulation.inventory, 0
    take = inventory.take

    def take_or_not(event_id: str, n_seats: int) -> bool:
        nonlocal missed
        missed += 1
        return missed % 2 == 0 and take(event_id, n_seats)

    inventory.take = take_or_not  # type: ignore[method-assign]
    assert shop.run(30)[-1] == pytest.approx(600, abs=5)
    assert missed > 600


def test_nobody_pays_after_the_crowd_was_stopped() -> None:
    shop = Open(20.0)
    before = shop.run(5)[-1]
    shop.simulation.crowd.stop()
    assert shop.run(20)[-1] == before


def test_steady_instants_never_drift() -> None:
    instants = list(islice(steady(START_US, 40.0, Random(3)), 10_000))
    assert all(0 <= at - START_US - k * 25_000 < 25_000 for k, at in enumerate(instants))


def test_instants_that_follow_the_day_are_as_many_as_asked() -> None:
    start_us = START_US - 12 * HOUR_US
    end_us = start_us + 24 * HOUR_US
    instants = list(following(start_us, end_us, busyness(middles(start_us, end_us)), 5000, Random(3)))
    assert len(instants) == 5000
    assert instants == sorted(instants)
    assert start_us <= instants[0] and instants[-1] < start_us + 24 * HOUR_US
    by_hour = [sum(start_us + hour * HOUR_US <= at < start_us + (hour + 1) * HOUR_US for at in instants)
               for hour in range(24)]  # fmt: skip
    assert by_hour[18] > 2 * by_hour[6]


# ------------------------------------------------------------------------------------------------------- the loop
class ManualInbox:
    """Waiting moves the clock; answers come when the clock reaches their time."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.answers: deque[Timer] = deque()

    def put(self, timer: Timer) -> None:
        self.answers.append(timer)

    def wait(self, seconds: float) -> Timer | None:
        if self.answers:
            return self.answers.popleft()
        if seconds > 0:
            self.clock.advance(timedelta(seconds=seconds))
        return None


class Bench:
    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.engine = Engine(START_US)
        self.inbox = ManualInbox(self.clock)
        self.loop = Loop(self.engine, self.clock, self.inbox, lambda: None)
        self.log: list[float] = []

    def note(self) -> None:
        self.log.append((self.engine.now_us - START_US) / SECOND_US)

    def until(self, seconds: float) -> None:
        while self.clock.now() < NOW + timedelta(seconds=seconds):
            self.loop.turn()


def test_steps_happen_when_the_clock_says_so() -> None:
    bench = Bench()
    for seconds in (0.5, 0.25, 3.0):
        bench.engine.after(seconds, bench.note)
    bench.until(2.0)
    assert bench.log == pytest.approx([0.25, 0.5], abs=1e-3)
    bench.until(4.0)
    assert bench.log == pytest.approx([0.25, 0.5, 3.0], abs=1e-3)
    assert bench.loop.worst_lag_seconds < 0.001


def test_a_late_machine_is_noticed_and_catches_up() -> None:
    bench = Bench()
    for number in range(1000):
        bench.engine.after(number / 1000, bench.note)
    bench.clock.advance(timedelta(seconds=5))
    bench.loop.turn()
    assert 0 < len(bench.log) < 1000
    assert bench.loop.lag_seconds > 4
    while len(bench.log) < 1000:
        bench.loop.turn()
    bench.loop.turn()
    assert bench.loop.worst_lag_seconds == pytest.approx(5.0)
    assert bench.loop.lag_seconds == 0


def test_no_answer_is_lost_however_many_come_at_once() -> None:
    bench = Bench()
    for _ in range(3 * MAX_STEPS + 7):
        bench.inbox.put(bench.note)
    for _ in range(10):
        bench.loop.turn()
    assert len(bench.log) == 3 * MAX_STEPS + 7


def test_an_answer_that_is_there_comes_before_the_patience_that_ran_out() -> None:
    bench = Bench()
    order: list[str] = []
    bench.engine.after(1.0, lambda: order.append("patience"))
    bench.inbox.put(lambda: order.append("answer"))
    bench.clock.advance(timedelta(seconds=2))
    bench.loop.turn()
    assert order == ["answer", "patience"]


def test_only_what_was_due_can_be_late() -> None:
    """An answer comes when it comes: what follows it at once would make any machine look punctual."""
    bench = Bench()
    seen: list[int | None] = []

    def look() -> None:
        seen.append(bench.loop.late_us)

    def answer() -> None:
        look()
        bench.engine.after(0.0, look)  # asked for late, but no later than it is done

    bench.engine.after(1.0, look)
    bench.engine.after(2.0, look)
    bench.inbox.put(answer)
    bench.clock.advance(timedelta(seconds=5))
    bench.loop.turn()
    look()
    assert seen == [None, 4 * SECOND_US, 3 * SECOND_US, 0, None]


# ----------------------------------------------------------------------------------------------------- the engine
def test_behaviours_wait_ask_and_go_on_in_order() -> None:
    engine, log = Engine(0), []
    waiting: list[Resume] = []

    def one() -> Process:
        log.append(("one", engine.now_us))
        yield 2.0
        log.append(("one again", engine.now_us))
        answer = yield waiting.append
        log.append((answer, engine.now_us))

    def two() -> Process:
        yield 1.0
        log.append(("two", engine.now_us))

    engine.start(one())
    engine.start(two())
    engine.run_until(3 * SECOND_US)
    waiting[0]("answered")
    assert log == [("one", 0), ("two", SECOND_US), ("one again", 2 * SECOND_US), ("answered", 3 * SECOND_US)]


def test_moving_the_agenda_keeps_its_order_and_distances() -> None:
    engine, log = Engine(0), []
    engine.after(1.0, lambda: log.append(engine.now_us))
    engine.after(2.0, lambda: log.append(engine.now_us))
    engine.move_to(1000 * SECOND_US)
    engine.run_until(1010 * SECOND_US)
    assert log == [1001 * SECOND_US, 1002 * SECOND_US]
