"""How much of the traffic is what: the background of fraud and abuse that is always there."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ibook.errors import ConfigurationError
from simulator.attacks import PATTERNS
from simulator.engine import Engine
from simulator.fraudsters import Fraudsters

TYPICAL_PURCHASES = {name: pattern.typical_purchases for name, pattern in PATTERNS.items()}
"""Purchases one launch of a pattern tries on average."""


def _default_shares() -> dict[str, float]:
    return {name: pattern.share for name, pattern in PATTERNS.items()}


@dataclass(frozen=True)
class Mix:
    """Share of all purchases that each pattern makes up on average while it is around; without those that are off.

    Raises ConfigurationError for a pattern there is none of, a share below 0, and when nothing honest would be left.

    >>> Mix({"stolen-card": 0.01, "scalper-ring": 0.02}).scaled(0.02).shares
    {'stolen-card': 0.02, 'scalper-ring': 0.04}
    """

    shares: Mapping[str, float] = field(default_factory=_default_shares)

    def __post_init__(self) -> None:
        unknown = [name for name in self.shares if name not in PATTERNS]
        if unknown:
            raise ConfigurationError(f"There is no pattern {unknown[0]!r}, only {', '.join(PATTERNS)}.")
        if min(self.shares.values(), default=0.0) < 0 or sum(self.shares.values()) >= 1:
            raise ConfigurationError(f"Shares of fraud must be 0 or more and sum to less than 1: {dict(self.shares)}.")
        object.__setattr__(self, "shares", {name: share for name, share in self.shares.items() if share > 0})

    @property
    def fraud(self) -> float:
        """Share of purchases that is payment fraud, once every pattern is around."""
        return sum(share for name, share in self.shares.items() if PATTERNS[name].kind == "fraud")

    @property
    def abuse(self) -> float:
        """Share of purchases that is abuse: what no card holder disputes."""
        return sum(share for name, share in self.shares.items() if PATTERNS[name].kind == "abuse")

    @property
    def total(self) -> float:
        """Share of a whole run's purchases that is not honest; patterns that begin later count for their part."""
        return sum(share * (1 - PATTERNS[name].begins) for name, share in self.shares.items())

    def scaled(self, fraud: float) -> "Mix":
        """The same proportions with this share of fraud; abuse grows and shrinks with it.

        Raises ConfigurationError when there is no fraud to scale, or no honest purchase would be left.
        """
        if fraud == 0:
            return NO_FRAUD
        if not self.fraud:
            raise ConfigurationError(f"A mix without fraud can't be scaled to a share of {fraud:g}: name the patterns.")
        return Mix({name: share * fraud / self.fraud for name, share in self.shares.items()})

    def with_shares(self, shares: Mapping[str, float]) -> "Mix":
        """This mix with some patterns' shares set anew; 0 turns a pattern off."""
        return Mix({**self.shares, **shares})


NO_FRAUD = Mix({})
DEFAULT_MIX = Mix()


def begin_background(
    engine: Engine, fraudsters: Fraudsters, mix: Mix, schedule: Callable[[float], Iterator[int]],
    span_us: tuple[int, int] | None = None,
) -> None:  # fmt: skip
    """Let campaigns begin; `schedule` turns a share of the purchases' number into instants.

    `span_us` is the run from its start to its end: patterns that appear later begin after their share of it. In a run
    of unknown length they never do.
    """
    start_us, end_us = span_us or (0, 0)
    for name, share in mix.shares.items():
        pattern = PATTERNS[name]
        if pattern.begins and span_us is None:
            continue
        begins_us = start_us + int(pattern.begins * (end_us - start_us))
        instants = _not_before(begins_us, schedule(share / pattern.typical_purchases))
        _next_campaign(engine, fraudsters, name, instants)


def _not_before(begins_us: int, instants: Iterator[int]) -> Iterator[int]:
    return (at_us for at_us in instants if at_us >= begins_us)


def _next_campaign(engine: Engine, fraudsters: Fraudsters, pattern: str, instants: Iterator[int]) -> None:
    def begin() -> None:
        fraudsters.launch(pattern)
        _next_campaign(engine, fraudsters, pattern, instants)

    due_us = next(instants, None)
    if due_us is not None:
        engine.at(due_us, begin)
