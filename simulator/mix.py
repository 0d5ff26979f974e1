"""How much of the traffic is what: the background of fraud that is always there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simulator.engine import Engine
from simulator.fraudsters import Fraudsters

TYPICAL_PURCHASES = {"stolen-card": 1.2, "card-testing": 31.0, "card-testing-slow": 16.0, "account-takeover": 5.0}
"""Purchases one campaign of a pattern tries on average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Share of all purchases that each pattern makes up on average."""

    stolen_card: float = 0.008
    card_testing: float = 0.009
    card_testing_slow: float = 0.008
    account_takeover: float = 0.007

    @property
    def shares(self) -> dict[str, float]:
        """Share per pattern, without those that are off."""
        every = {
            "stolen-card": self.stolen_card, "card-testing": self.card_testing,
            "card-testing-slow": self.card_testing_slow, "account-takeover": self.account_takeover,
        }  # fmt: skip
        return {pattern: share for pattern, share in every.items() if share > 0}

    @property
    def fraud(self) -> float:
        """Share of all purchases that is fraud."""
        return sum(self.shares.values())


NO_FRAUD = Mix(stolen_card=0, card_testing=0, card_testing_slow=0, account_takeover=0)


def begin_background(
    engine: Engine, fraudsters: Fraudsters, mix: Mix, schedule: Callable[[float], Iterator[int]]
) -> None:
    """Let campaigns begin; `schedule` turns a share of the purchases' number into instants."""
    for pattern, share in mix.shares.items():
        _next_campaign(engine, fraudsters, pattern, schedule(share / TYPICAL_PURCHASES[pattern]))


def _next_campaign(engine: Engine, fraudsters: Fraudsters, pattern: str, instants: Iterator[int]) -> None:
    def begin() -> None:
        fraudsters.launch(pattern)
        _next_campaign(engine, fraudsters, pattern, instants)

    due_us = next(instants, None)
    if due_us is not None:
        engine.at(due_us, begin)
