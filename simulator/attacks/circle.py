"""Those who do it by habit: few people at a time, each of them again and again."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from simulator.attacks.craft import Count, Craft, Odds
from simulator.attacks.pattern import Pattern
from simulator.engine import Pause
from simulator.people import Card
from simulator.visits import Visitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """How a circle is made up. Assumed: that such purchases cluster by user is known, how much is not."""

    people: int
    """So many do it in the same weeks …"""
    times: Count
    """… each so often, until they leave off and somebody else begins."""
    refusals: int
    """So many refusals by the shop, and they go elsewhere."""


@dataclass(slots=True)
class Member:
    """Somebody with an account, card and device of their own."""

    visitor: Visitor
    cards: tuple[Card, ...]
    times_left: int
    refusals_left: int


class Circle:
    """Draws who does it next."""

    def __init__(self, craft: Craft, habit: Habit) -> None:
        self._craft, self._habit = craft, habit
        self._members: list[Member] = []

    def purchase(self, pattern: Pattern, odds: Odds) -> Generator[Pause, Any, None]:
        """One of them buys as anybody does; no reviewer could tell."""
        craft = self._craft
        member = self._next()
        nature = craft.nature(pattern, None, odds, is_evident=False)
        paid = yield from craft.buy(member.visitor, craft.rng.choice(member.cards), craft.anything(), nature)
        member.refusals_left -= paid.result == "refused"

    def _next(self) -> Member:
        self._members = [each for each in self._members if each.times_left > 0 and each.refusals_left > 0]
        while len(self._members) < self._habit.people:
            visitor, cards = self._craft.owner()
            times = self._craft.some(self._habit.times)
            self._members.append(Member(visitor, cards, times, self._habit.refusals))
        member = self._craft.rng.choice(self._members)
        member.times_left -= 1
        return member
