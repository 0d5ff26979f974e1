"""How late things are: percentiles of a histogram that stays small, and a collector that stays away."""

import gc
import sys
from datetime import UTC, datetime
from random import Random

import numpy as np
import pytest

from ibook.clock import to_us
from simulator.lateness import Lateness
from simulator.scenarios import SCENARIOS
from simulator.sinks import MemorySink
from simulator.undisturbed import SWITCH_SECONDS, Undisturbed
from simulator.virtual import VirtualShop
from simulator.world import World

NOW = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)


def test_percentiles_are_true_to_a_thirty_second() -> None:
    rng, late = Random(1), Lateness()
    values = [int(rng.lognormvariate(6, 2)) for _ in range(20_000)]
    for value in values:
        late.note(value)
    for name, found in late.percentiles_ms((50, 95, 99, 99.9)).items():
        true = float(np.percentile(values, float(name[1:]))) / 1000
        assert true * 0.999 <= found <= true * (1 + 1 / 31) + 0.001


def test_what_comes_early_is_not_late_and_nothing_has_no_percentiles() -> None:
    late = Lateness()
    assert late.percentiles_ms() == {}
    late.note(-500)
    assert late.percentiles_ms() == {"p50": 0.0, "p95": 0.0, "p99": 0.0}


def test_a_million_values_take_no_more_bins_than_their_range() -> None:
    late = Lateness()
    for value in range(0, 10_000_000, 10):
        late.note(value)
    assert late.n == 1_000_000 and len(late._counts) < 700


def test_an_open_shop_is_not_stopped_by_the_collector_and_gives_it_back() -> None:
    before, switch = gc.isenabled(), sys.getswitchinterval()
    undisturbed = Undisturbed()
    undisturbed.begin()
    undisturbed.begin()
    assert not gc.isenabled() and sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    undisturbed.end()
    undisturbed.end()
    assert gc.isenabled() == before and sys.getswitchinterval() == pytest.approx(switch)


@pytest.mark.parametrize("name", ["fraud-attack", "system-degradation"])
def test_a_run_leaves_no_cycles_behind_so_that_nothing_piles_up_without_a_collector(name: str) -> None:
    shop = VirtualShop(World(3, NOW), SCENARIOS[name], MemorySink(), rate=30.0, seconds=30.0, seed=3, now_us=to_us(NOW))
    gc.collect()
    gc.disable()
    try:
        shop.run()
        assert gc.collect() < 100  # a few caches of the standard library's
    finally:
        gc.enable()
