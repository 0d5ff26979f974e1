"""Pricing policies that somebody would like to try, as data: a TOML file, checked when it is read."""

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct, field

from ibook.errors import ConfigurationError
from ibook.messages import ArmProbabilities, EventListed, QuoteIssued, TicketType
from ibook.pricing_by_rule import HIGHEST, LOWEST, STRENGTH, elapsed_share, rule_multiplier
from ibook.pricing_guards import PROBABILITY_FLOOR, guarded
from ibook.settings import PRICE_MULTIPLIERS

Prices = Mapping[int, float]
"""Price in minor units -> how likely the candidate shows it."""


class Situation(Struct, frozen=True):
    """What is known of a slot when its price is decided."""

    decision: QuoteIssued
    """What was shown, and when; its seats."""
    listing: EventListed
    ticket: TicketType
    arms: ArmProbabilities | None
    """What the newest policy says of the ticket type."""

    @property
    def sold_share(self) -> float | None:
        """Share of the seats that are gone; None when nobody said."""
        left, capacity = self.decision.seats_left, self.listing.capacity
        return None if left is None or not capacity else 1.0 - left / capacity


class _Candidate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    name: str = ""


class FixedPrices(_Candidate, frozen=True, kw_only=True, tag="fixed"):
    """The same probabilities always: of multiples of the list price, or of the arms of a foreign log."""

    probabilities: dict[str, float]

    def prices(self, situation: Situation) -> Prices:
        """Multiples that floor or cap make equal are one price. Raises ConfigurationError."""
        found: dict[int, float] = {}
        for arm, probability in self.probabilities.items():
            price = _within(situation.ticket, _multiple(arm) * situation.ticket.list_price_minor)
            found[price] = found.get(price, 0.0) + probability
        return found


class ListPrice(_Candidate, frozen=True, kw_only=True, tag="list_price"):
    """List price, always."""

    def prices(self, situation: Situation) -> Prices:
        """One price."""
        return {situation.ticket.list_price_minor: 1.0}


class RulePrices(_Candidate, frozen=True, kw_only=True, tag="rules"):
    """The price that seats and time alone give (`ibook.pricing_by_rule`), as the nearest of the published prices."""

    strength: float = STRENGTH
    lowest: float = LOWEST
    highest: float = HIGHEST
    multiples: list[float] = field(default_factory=lambda: list(PRICE_MULTIPLIERS))

    def prices(self, situation: Situation) -> Prices:
        """One price; list price when nobody knows the seats."""
        ticket, sold = situation.ticket, situation.sold_share
        if sold is None:
            return {ticket.list_price_minor: 1.0}
        elapsed = elapsed_share(situation.listing, situation.decision.occurred_at)
        multiple = rule_multiplier(
            sold, elapsed, strength=self.strength, lowest=self.lowest, highest=self.highest
        )  # fmt: skip
        asked = _within(ticket, multiple * ticket.list_price_minor)
        published = {_within(ticket, each * ticket.list_price_minor) for each in self.multiples}
        return {min(sorted(published), key=lambda price: abs(price - asked)): 1.0}


class LearnedPrices(_Candidate, frozen=True, kw_only=True, tag="learned"):
    """The newest policy of each event, under other guards."""

    floor: float = PROBABILITY_FLOOR
    """Least probability of each price that is shown at all."""
    lowest: float = 0.0
    highest: float = 10.0
    """Multiples of the list price outside are not shown."""

    def prices(self, situation: Situation) -> Prices:
        """Of its ticket type; list price where no policy is known, or none of its prices is allowed."""
        arms, list_price = situation.arms, situation.ticket.list_price_minor
        if arms is None:
            return {list_price: 1.0}
        multiples = np.array(arms.prices_minor) / arms.list_price_minor
        shares = np.array(arms.probabilities)
        within = (multiples >= self.lowest) & (multiples <= self.highest) & (shares > 0.0)
        if not within.any() or within.sum() * self.floor > 1.0:
            return {list_price: 1.0}
        allowed = guarded(shares, within, self.floor)
        return {price: each for price, each in zip(arms.prices_minor, allowed, strict=True) if each > 0.0}


class LearnerPrices(_Candidate, frozen=True, kw_only=True, tag="learner"):
    """The learner with other settings: before each slot it decides by what had been settled then (`learner_replay`)."""

    half_life_seconds: float | None = None
    max_step: float | None = None
    multiples: list[float] | None = None
    """None: as set up."""


class Columns(_Candidate, frozen=True, kw_only=True, tag="columns"):
    """For a foreign log alone: each arm's probability stands in a column of the log."""

    columns: dict[str, str]


Candidate = FixedPrices | ListPrice | RulePrices | LearnedPrices | LearnerPrices | Columns


def read_candidate(path: Path) -> Candidate:
    """A candidate's file. Raises ConfigurationError with one sentence that names the file and what is wrong."""
    try:
        candidate: Candidate = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Candidate)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The candidate {path} can't be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"The candidate {path} is not TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"The candidate {path} is refused: {error}.") from error
    if fault := _fault(candidate):
        raise ConfigurationError(f"The candidate {path} is refused: {fault}.")
    return candidate


def _fault(candidate: Candidate) -> str:
    """What makes no sense; empty when all does."""
    match candidate:
        case FixedPrices():
            total = sum(candidate.probabilities.values())
            if min(candidate.probabilities.values(), default=-1.0) < 0.0 or not abs(total - 1.0) <= 1e-6:  # NaN too
                return f"its probabilities sum to {total:g}; they must be at least 0 and sum to 1"
        case RulePrices():
            if not (
                0.0 < candidate.lowest <= candidate.highest and candidate.multiples and min(candidate.multiples) > 0
            ):
                return "0 < lowest <= highest must hold, and multiples be larger than 0"
        case LearnedPrices():
            if not (0.0 <= candidate.floor <= 0.5 and 0.0 <= candidate.lowest <= candidate.highest):
                return "0 <= floor <= 0.5 and 0 <= lowest <= highest must hold"
        case LearnerPrices():
            given = [candidate.half_life_seconds, candidate.max_step, *(candidate.multiples or [])]
            if candidate.multiples == [] or any(each is not None and not 0.0 < each < math.inf for each in given):
                return "half_life_seconds, max_step and multiples must be larger than 0"
        case Columns() if not candidate.columns:
            return "it names no columns"
    return ""


def _multiple(arm: str) -> float:
    try:
        value = float(arm)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 10.0:
        raise ConfigurationError(f'The candidate\'s arm {arm!r} is no multiple of the list price, like "1.1".')
    return value


def _within(ticket: TicketType, price: float) -> int:
    return min(max(round(price), ticket.lowest_minor), ticket.highest_minor)
