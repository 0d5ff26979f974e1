"""The live shop by a clock of its own, and without a Kafka that would take what it says."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ibook.clock import ManualClock, to_us
from ibook.messages import PurchaseRequested
from ibook.settings import Settings
from simulator.engine import SECOND_US
from simulator.realtime import RealtimeShop
from simulator.scenarios import SCENARIOS
from simulator.storefront import ListPrices
from simulator.world import World

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WORLD = World(5, NOW)
SECONDS = 20.0
OWN_IDS = ("message_id", "transaction_id")
OWN = {*OWN_IDS, "account_opened_at"}
"""What is a run's own; new accounts are opened while it goes on."""


def opened(
    folder: Path, clock: ManualClock, *, seed: int = 5, scenario: str = "normal",
    on_purchase: Callable[[PurchaseRequested], None] | None = None,
) -> RealtimeShop:  # fmt: skip
    """A shop whose doors are open, and whose steps are left to the test."""
    shop = RealtimeShop(
        WORLD, Settings(kafka_bootstrap="127.0.0.1:1", data_dir=folder), 10.0, seed, ask_quotes=False,
        clock=clock, scenario=SCENARIOS[scenario], seconds=SECONDS, on_purchase=on_purchase,
    )  # fmt: skip
    shop.play.fill()
    shop.play.open(to_us(clock.now()), ListPrices())
    return shop


def purchases(folder: Path, at: datetime, *, seed: int = 5, scenario: str = "fraud-attack") -> list[dict[str, Any]]:
    """What is bought in a run that begins at `at`, with instants since then."""
    bought: list[PurchaseRequested] = []
    shop = opened(folder, ManualClock(at), seed=seed, scenario=scenario, on_purchase=bought.append)
    shop.play.simulation.engine.run_until(to_us(at) + int(SECONDS * SECOND_US))
    return [
        {name: getattr(each, name) for name in each.__struct_fields__} | {"occurred_at": each.occurred_at - at}
        for each in bought
    ]


def decisions(bought: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in each.items() if name not in OWN} for each in bought]


def test_a_seed_draws_the_same_whenever_its_run_begins_and_no_two_runs_share_an_id(tmp_path: Path) -> None:
    first = purchases(tmp_path, NOW)
    second = purchases(tmp_path, NOW + timedelta(seconds=5))
    assert len(first) >= 200
    assert decisions(first) == decisions(second)
    for name in OWN_IDS:
        assert len({each[name] for each in (*first, *second)}) == 2 * len(first)


def test_another_seed_and_another_scenario_draw_otherwise(tmp_path: Path) -> None:
    usual = decisions(purchases(tmp_path, NOW, scenario="normal"))
    assert usual != decisions(purchases(tmp_path, NOW, scenario="normal", seed=6))
    assert usual[:50] != decisions(purchases(tmp_path, NOW, scenario="fraud-attack"))[:50]


def test_the_pacing_error_is_of_messages_that_were_due_and_not_of_those_that_follow_an_answer(tmp_path: Path) -> None:
    clock = ManualClock(NOW)
    shop = opened(tmp_path, clock)
    simulation, shop._running = shop.play.simulation, True
    before = simulation.feed.sent.total()
    shop._inbox.put(simulation.announce)
    shop._loop.turn()
    assert simulation.feed.sent.total() > before
    assert shop.pacing_error.n == 0
    before = simulation.feed.sent.total()
    clock.advance(timedelta(seconds=1))
    shop._loop.turn()
    assert shop.pacing_error.n == simulation.feed.sent.total() - before > 0
    assert 0 < shop.pacing_error.percentiles_ms()["p50"] < shop.pacing_error.percentiles_ms()["p99"] < 1050
