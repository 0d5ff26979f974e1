"""The policies that are compared: ours, by the very functions that the workers and serving call, and the usual ones."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from river import bandit, proba, stats

from bench.pricing_crowd import AT_LIST, MENU, Crowd
from bench.pricing_experience import Experiences
from bench.pricing_play import SLOT_SECONDS, Offer
from ibook.bandit import RevenueThompson, next_decision, posterior, prior
from ibook.messages import PricePolicy, PriceReward
from ibook.pricing import PricingRules, choose_price, draw_arm, slot_draw
from ibook.pricing_by_rule import rule_price
from ibook.pricing_forecast import market_of
from ibook.pricing_guards import with_floor
from ibook.rewards import EventSums, fold, known

SECRET = b"bench"
EPSILON = 0.1
UCB_DELTA = 0.5
"""Width of the confidence bound, in rewards of about one half."""


def moment(at: float) -> datetime:
    """Seconds since the epoch as a time."""
    return datetime.fromtimestamp(at, UTC)


def rules_of(crowd: Crowd, **changes: float) -> PricingRules:
    """The platform's defaults, seeded by the crowd. The learner is never away, so no policy is too old."""
    fields = {"slot_seconds": SLOT_SECONDS, "max_age_seconds": 1e9, "seed": crowd.seed, **changes}
    return PricingRules(**fields)  # type: ignore[arg-type]


class Learner:
    """Ours: rewards folded into sums, `next_policy` from posterior, programme and guards, `choose_price` per slot."""

    def __init__(self, crowd: Crowd, shop: Experiences | None = None, **changes: float) -> None:
        self._crowd = crowd
        self._rules = rules_of(crowd, **changes)
        self._shop = shop or Experiences()
        self.sums = EventSums()
        self.policy: PricePolicy | None = None
        self._sequence = 0

    def review(self, at: float, seats_left: int) -> None:
        """As the learner does it when rewards have come in."""
        now, crowd = moment(at), self._crowd
        market = market_of(
            crowd.listing, self.sums, seats_left=seats_left, rivals=_rivals(crowd, at),
            prior=self._shop.prior(at, crowd.listing), now=now, rules=self._rules,
        )  # fmt: skip
        decided = next_decision(
            crowd.listing, known(self.sums, now, self._rules), self.policy, now=now, rules=self._rules, market=market
        )
        self.policy = decided.policy
        self._shop.note(at, crowd.listing, decided.curves)

    def shown(self, ticket: int, slot: int) -> int:
        """As serving does it."""
        kind = self._crowd.listing.ticket_types[ticket]
        choice = choose_price(
            self.policy, self._crowd.listing.event_id, kind, slot=slot, secret=SECRET, rules=self._rules
        )
        return _index(choice.price_minor, kind.list_price_minor)

    def learn(self, offer: Offer) -> None:
        """As the rewards worker says it, and the learner folds it."""
        fold(self.sums, reward_of(self._crowd, offer, self._sequence), self._rules.half_life_seconds)
        self._sequence += 1

    def take_back(self, offer: Offer) -> None:
        """A sale was refunded: it leaves with its offer."""
        fold(self.sums, reward_of(self._crowd, offer, self._sequence, -1), self._rules.half_life_seconds)
        self._sequence += 1


def reward_of(crowd: Crowd, offer: Offer, sequence: int, sign: int = 1) -> PriceReward:
    """What the rewards worker would say of an offer."""
    kind, at = crowd.listing.ticket_types[offer.ticket], moment(offer.at)
    price, sales = int(crowd.prices[offer.ticket, offer.price]), sign * int(offer.tickets > 0)
    return PriceReward(
        message_id=str(sequence), occurred_at=at, event_id=crowd.listing.event_id, quote_id=str(sequence),
        ticket_type=kind.name, arm=0, price_minor=price, slot=int(offer.at // SLOT_SECONDS), offered_at=at, offers=sign,
        sales=sales, revenue_minor=sales * price, n_tickets=max(1, offer.tickets), source_partition=0,
        sequence=sequence,
    )  # fmt: skip


class ByRule:
    """Inventory and time."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._menu = [AT_LIST] * len(crowd.listing.ticket_types)
        self._held: dict[int, int] = {}
        self._slot = -1

    def review(self, at: float, seats_left: int) -> None:
        """The rule of today."""
        listing = self._crowd.listing
        self._menu = [
            _index(rule_price(listing, kind, seats_left=seats_left, now=moment(at)), kind.list_price_minor)
            for kind in listing.ticket_types
        ]

    def shown(self, ticket: int, slot: int) -> int:
        """As it was when the slot began."""
        if slot != self._slot:
            self._slot, self._held = slot, dict(enumerate(self._menu))
        return self._held[ticket]

    def learn(self, offer: Offer) -> None:
        """Nothing."""


class PlainThompson:
    """Thompson sampling over one Beta per price, nothing forgotten, no curve, no inventory, no guard but the floor."""

    def __init__(self, crowd: Crowd, multipliers: Sequence[float]) -> None:
        self._crowd, self._arms = crowd, [MENU.index(one) for one in multipliers]
        self._counts = np.zeros((len(crowd.listing.ticket_types), len(self._arms), 2))
        self._chances: list[list[float]] = []
        self._seed = crowd.seed

    def review(self, at: float, seats_left: int) -> None:
        """Shares of pulls."""
        self._seed += 1
        self._chances = [
            with_floor(RevenueThompson(self._prices(ticket), self._posteriors(ticket), self._seed).shares(512))
            for ticket in range(len(self._counts))
        ]

    def shown(self, ticket: int, slot: int) -> int:
        """Drawn per slot, as ours is."""
        uniform = slot_draw(SECRET, self._crowd.listing.event_id, str(ticket), slot)
        return self._arms[draw_arm(self._chances[ticket], uniform)]

    def learn(self, offer: Offer) -> None:
        """Count it."""
        self._counts[offer.ticket, self._arms.index(offer.price)] += (1, offer.tickets > 0)

    def _prices(self, ticket: int) -> list[int]:
        return [int(self._crowd.prices[ticket, arm]) for arm in self._arms]

    def _posteriors(self, ticket: int) -> list[proba.Beta]:
        at_list = self._crowd.listing.ticket_types[ticket].list_price_minor
        return [
            posterior({0: (int(offers), int(sales))}, prior(price, at_list), as_of=moment(0), half_life_seconds=1.0)
            for price, (offers, sales) in zip(self._prices(ticket), self._counts[ticket], strict=True)
        ]


class RiverPolicy(Protocol):
    """What River's policies have in common."""

    def pull(self, arm_ids: Sequence[int]) -> int:
        """An arm."""
        ...

    def update(self, arm_id: int, *reward_args: float) -> object:
        """What it earned."""
        ...


class ByRiver:
    """One of River's policies per ticket type; a price is pulled per slot, and earns its share of the list price."""

    def __init__(self, crowd: Crowd, multipliers: Sequence[float], policies: Sequence[RiverPolicy]) -> None:
        self._arms, self._policies = [MENU.index(one) for one in multipliers], policies
        self._pulled: dict[tuple[int, int], int] = {}

    def review(self, at: float, seats_left: int) -> None:
        """River decides at every pull."""

    def shown(self, ticket: int, slot: int) -> int:
        """Pulled once per slot."""
        key = ticket, slot
        if key not in self._pulled:
            self._pulled = {} if len(self._pulled) > 100 else self._pulled
            self._pulled[key] = self._policies[ticket].pull(self._arms)
        return self._pulled[key]

    def learn(self, offer: Offer) -> None:
        """Revenue as a share of the list price."""
        self._policies[offer.ticket].update(offer.price, MENU[offer.price] if offer.tickets else 0.0)


def epsilon_greedy(crowd: Crowd, multipliers: Sequence[float]) -> ByRiver:
    """River's epsilon-greedy."""
    policies = [
        bandit.EpsilonGreedy(epsilon=EPSILON, decay=0.0, reward_obj=stats.Mean(), burn_in=5, seed=crowd.seed + ticket)
        for ticket in range(len(crowd.listing.ticket_types))
    ]
    return ByRiver(crowd, multipliers, policies)


def upper_confidence(crowd: Crowd, multipliers: Sequence[float]) -> ByRiver:
    """River's upper confidence bound."""
    policies = [
        bandit.UCB(delta=UCB_DELTA, reward_obj=stats.Mean(), burn_in=5, seed=crowd.seed + ticket)
        for ticket in range(len(crowd.listing.ticket_types))
    ]
    return ByRiver(crowd, multipliers, policies)


def _rivals(crowd: Crowd, at: float) -> Mapping[str, int]:
    day = min(max(0, int(at // 86_400) - crowd.first_day), len(crowd.rivals) - 1)
    return {kind.name: int(price) for kind, price in zip(crowd.listing.ticket_types, crowd.rivals[day], strict=True)}


def _index(price_minor: int, list_price_minor: int) -> int:
    return int(np.argmin(np.abs(np.array(MENU) - price_minor / list_price_minor)))
