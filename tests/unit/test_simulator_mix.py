"""How much of the traffic is fraud, which, and since when."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from ibook.clock import from_us, to_us
from ibook.errors import ConfigurationError
from simulator.attacks import PATTERNS
from simulator.engine import Engine
from simulator.mix import DEFAULT_MIX, NO_FRAUD, Mix, begin_background

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_fraud_outside_campaigns_is_as_rare_as_published_and_all_of_it_enough_to_learn_from() -> None:
    alone = sum(pattern.share for pattern in PATTERNS.values() if not pattern.is_campaign and pattern.kind == "fraud")
    assert 0.003 <= alone <= 0.01
    assert 0.025 <= DEFAULT_MIX.fraud <= 0.04
    assert pytest.approx(sum(DEFAULT_MIX.shares.values())) == DEFAULT_MIX.fraud + DEFAULT_MIX.abuse
    assert DEFAULT_MIX.total < DEFAULT_MIX.fraud + DEFAULT_MIX.abuse  # one pattern begins later


def test_a_mix_keeps_its_proportions_when_scaled() -> None:
    scaled = DEFAULT_MIX.scaled(0.1)
    assert scaled.fraud == pytest.approx(0.1)
    for name, share in DEFAULT_MIX.shares.items():
        assert scaled.shares[name] / share == pytest.approx(0.1 / DEFAULT_MIX.fraud)
    assert DEFAULT_MIX.scaled(0) == NO_FRAUD


def test_a_pattern_is_turned_off_by_a_share_of_nothing() -> None:
    mix = DEFAULT_MIX.with_shares({"scalper-ring": 0.0, "stolen-card": 0.02})
    assert "scalper-ring" not in mix.shares and mix.shares["stolen-card"] == 0.02
    assert mix.shares["card-testing"] == DEFAULT_MIX.shares["card-testing"]


@pytest.mark.parametrize(
    "shares", [{"pickpockets": 0.1}, {"stolen-card": -0.1}, {"stolen-card": 0.5, "card-testing": 0.5}]
)
def test_a_mix_that_can_not_be_is_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Mix(shares)


def test_a_mix_without_fraud_has_nothing_to_scale() -> None:
    with pytest.raises(ConfigurationError, match="name the patterns"):
        Mix({"scalper-ring": 0.1}).scaled(0.1)


def test_the_unknown_pattern_appears_late_in_a_run_and_never_where_its_length_is_unknown() -> None:
    start_us = to_us(NOW)
    engine = Engine(start_us)
    begun: list[tuple[datetime, str]] = []

    class Listener:
        def launch(self, pattern: str) -> None:
            begun.append((from_us(engine.now_us), pattern))

    def hourly(_: float) -> Iterator[int]:
        return (start_us + hour * 3_600_000_000 for hour in range(100))

    mix = Mix({"stolen-card": 0.01, "resale-triangulation": 0.01})
    begin_background(engine, Listener(), mix, hourly, (start_us, start_us + 100 * 3_600_000_000))  # type: ignore[arg-type]
    engine.run_until(start_us + 100 * 3_600_000_000)
    times = {name: [at for at, pattern in begun if pattern == name] for name in mix.shares}
    assert len(times["stolen-card"]) == 100 and len(times["resale-triangulation"]) == 30
    assert min(times["resale-triangulation"]) == NOW + timedelta(hours=70)
    begun.clear()
    begin_background(engine, Listener(), mix, hourly)  # type: ignore[arg-type]
    engine.run_until(start_us + 200 * 3_600_000_000)
    assert {pattern for _, pattern in begun} == {"stolen-card"}
