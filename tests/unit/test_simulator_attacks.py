"""Each attack has its tell, honest people who look like it, and a temper."""

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import mean, pstdev
from typing import TypeGuard

import pytest

from ibook.messages import (
    AccountChanged,
    FraudLabel,
    LoginAttempted,
    Message,
    PaymentOutcome,
    PurchaseRequested,
    SeatsHeld,
    TicketsTransferred,
)
from simulator.attacks import PATTERNS, scalper_ring
from simulator.history import History
from simulator.mix import DEFAULT_MIX
from simulator.truth import TransactionTruth
from simulator.world import WorldSize

END = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Recent:
    """What was seen of a key lately: (instant, value) pairs."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, deque[tuple[datetime, str]]] = defaultdict(deque)

    def add(self, key: str, at: datetime, value: str) -> None:
        self._seen[key].append((at, value))

    def count(self, key: str, at: datetime, within: timedelta) -> int:
        return sum(seen > at - within for seen, _ in self._seen[key])

    def distinct(self, key: str, at: datetime, within: timedelta) -> int:
        return len({value for seen, value in self._seen[key] if seen > at - within})


@dataclass
class Watcher:
    """A shop's memory, as simple as can be: it gives every purchase its figures when it comes."""

    figures: dict[str, dict[str, float]] = field(default_factory=dict)
    _recent: defaultdict[str, Recent] = field(default_factory=lambda: defaultdict(Recent))
    _first_seen: dict[str, datetime] = field(default_factory=dict)
    _given_back: Counter[str] = field(default_factory=Counter)
    handed_on: set[str] = field(default_factory=set)

    def see(self, message: Message) -> None:
        at, recent = message.occurred_at, self._recent
        if isinstance(message, PurchaseRequested):
            self._first_seen.setdefault(message.device_id, at)
            self._remember(message, at)
            self.figures[message.transaction_id] = self._judge(message, at)
        elif isinstance(message, LoginAttempted):
            self._first_seen.setdefault(message.device_id, at)
            recent["login users by device"].add(message.device_id, at, message.user_id)
            if not message.succeeded:
                recent["failed logins by user"].add(message.user_id, at, "")
        elif isinstance(message, AccountChanged):
            recent["changes"].add(message.user_id, at, message.change)
        elif isinstance(message, SeatsHeld):
            recent["holds"].add(message.user_id, at, message.hold_id)
        elif isinstance(message, TicketsTransferred):
            self.handed_on.add(message.transaction_id)
        elif isinstance(message, PaymentOutcome) and message.status == "declined":
            recent["declines by subnet"].add(subnet(message.ip), at, "")
        elif self._is_money_back(message):
            self._given_back[message.user_id] += 1

    @staticmethod
    def _is_money_back(message: Message) -> TypeGuard[PaymentOutcome | FraudLabel]:
        if isinstance(message, PaymentOutcome):
            return message.status == "refunded"
        return isinstance(message, FraudLabel) and message.source == "chargeback"

    def _remember(self, p: PurchaseRequested, at: datetime) -> None:
        recent = self._recent
        recent["cards by device"].add(p.device_id, at, p.card_id)
        recent["cards by address"].add(p.ip, at, p.card_id)
        recent["cards by subnet"].add(subnet(p.ip), at, p.card_id)
        recent["users by subnet"].add(subnet(p.ip), at, p.user_id)
        recent["users by device"].add(p.device_id, at, p.user_id)
        recent["cards by user"].add(p.user_id, at, p.card_id)
        recent["users by event and issuer"].add(f"{p.event_id} {p.bin}", at, p.user_id)
        recent["users by event and device"].add(f"{p.event_id} {p.device_id}", at, p.user_id)
        recent["users by event and subnet"].add(f"{p.event_id} {subnet(p.ip)}", at, p.user_id)

    def _judge(self, p: PurchaseRequested, at: datetime) -> dict[str, float]:
        recent, ten = self._recent, timedelta(minutes=10)
        return {
            "cards by device": recent["cards by device"].distinct(p.device_id, at, HOUR),
            "cards by address": recent["cards by address"].distinct(p.ip, at, HOUR),
            "cards by subnet": recent["cards by subnet"].distinct(subnet(p.ip), at, 6 * HOUR),
            "cards by user": recent["cards by user"].distinct(p.user_id, at, DAY),
            "declines by subnet": recent["declines by subnet"].count(subnet(p.ip), at, 6 * HOUR),
            "failed logins": recent["failed logins by user"].count(p.user_id, at, HOUR),
            "changed account": recent["changes"].count(p.user_id, at, HOUR),
            "new device": float(self._first_seen[p.device_id] > at - HOUR),
            "accounts by device": recent["login users by device"].distinct(p.device_id, at, HOUR),
            "accounts on device": recent["users by device"].distinct(p.device_id, at, 3 * DAY),
            "accounts in network": recent["users by subnet"].distinct(subnet(p.ip), at, 3 * DAY),
            "abroad": float(p.card_country != p.ip_country),
            "youth": float(at - p.account_opened_at < DAY),
            "issuer's users": recent["users by event and issuer"].distinct(f"{p.event_id} {p.bin}", at, ten),
            "device's users": recent["users by event and device"].distinct(f"{p.event_id} {p.device_id}", at, ten),
            "subnet's users": recent["users by event and subnet"].distinct(f"{p.event_id} {subnet(p.ip)}", at, ten),
            "holds": recent["holds"].count(p.user_id, at, 6 * HOUR),
            "given back": self._given_back[p.user_id],
        }

    def figure(self, transaction_id: str, name: str) -> float:
        if name == "handed on":
            return float(transaction_id in self.handed_on)
        return self.figures[transaction_id][name]


def subnet(ip: str) -> str:
    return ip.rsplit(".", 1)[0]


@dataclass(frozen=True)
class Seen:
    """A past in which a tenth is fraud, and every purchase's figures in it."""

    messages: list[Message]
    truth: dict[str, TransactionTruth]
    watcher: Watcher

    def share(self, who: str, figure: str, at_least: float) -> float:
        """Of the purchases of a pattern, a look-alike or (`plain`) other honest people, those with so high a figure."""
        group = [one for one, truth in self.truth.items() if name_of(truth) == who]
        assert len(group) >= 15, f"{len(group)} purchases of {who}"
        return mean(self.watcher.figure(one, figure) >= at_least for one in group)

    def purchases(self, pattern: str) -> list[PurchaseRequested]:
        return [
            each for each in self.messages
            if isinstance(each, PurchaseRequested) and self.truth[each.transaction_id].pattern == pattern
        ]  # fmt: skip


def name_of(truth: TransactionTruth) -> str:
    return truth.pattern if truth.is_fraud or truth.is_abuse else truth.look_alike or "plain"


@pytest.fixture(scope="module")
def seen() -> Seen:
    town = WorldSize(households=6_000)
    past = History(
        21, END, 48, 14_000, size=town, mix=DEFAULT_MIX.scaled(0.12).with_shares({"resale-triangulation": 0.04})
    )
    watcher, messages = Watcher(), []
    for _, _, message in past:
        watcher.see(message)
        messages.append(message)
    return Seen(messages, past.truth.transactions, watcher)


TELLS = [
    ("card-testing", "cards by device", 3),
    ("card-testing", "declines by subnet", 2),
    ("card-testing-slow", "cards by subnet", 4),
    ("card-testing-slow", "declines by subnet", 2),
    ("account-takeover", "accounts by device", 2),
    ("account-takeover", "changed account", 1),
    ("account-takeover", "handed on", 1),
    ("stolen-card", "youth", 1),
    ("scalper-ring", "issuer's users", 3),
    ("scalper-ring", "subnet's users", 3),
    ("seat-hoarding", "holds", 4),
    ("refund-abuse", "given back", 1),
    ("friendly-fraud", "given back", 1),
    ("resale-triangulation", "cards by user", 3),
    ("resale-triangulation", "handed on", 1),
]


@pytest.mark.parametrize(("pattern", "figure", "at_least"), TELLS)
def test_a_pattern_shows_its_tell_and_plain_people_do_not(seen: Seen, pattern: str, figure: str, at_least: int) -> None:
    assert seen.share(pattern, figure, at_least) > max(0.2, 6 * seen.share("plain", figure, at_least))


LOOK_ALIKES = [
    ("card-testing", "group", "cards by device", 3),
    ("card-testing", "office_ip", "accounts in network", 3),
    ("card-testing", "family_device", "accounts on device", 2),
    ("card-testing", "several_cards", "declines by subnet", 1),
    ("card-testing-slow", "office_ip", "accounts in network", 3),
    ("card-testing-slow", "several_cards", "declines by subnet", 1),
    ("card-testing-slow", "new_user", "youth", 1),
    ("account-takeover", "forgot_password", "failed logins", 1),
    ("account-takeover", "new_device", "changed account", 1),
    ("account-takeover", "traveller", "abroad", 1),
    ("account-takeover", "gift_buyer", "handed on", 1),
    ("stolen-card", "new_user", "youth", 1),
    ("stolen-card", "traveller", "abroad", 1),
    ("scalper-ring", "fan_club", "issuer's users", 3),
    ("scalper-ring", "group", "subnet's users", 3),
    ("seat-hoarding", "window_shopper", "holds", 3),
    ("refund-abuse", "honest_refund", "given back", 1),
    ("friendly-fraud", "honest_refund", "given back", 1),
    ("resale-triangulation", "several_cards", "cards by user", 2),
    ("resale-triangulation", "gift_buyer", "handed on", 1),
]


@pytest.mark.parametrize(("pattern", "look_alike", "figure", "at_least"), LOOK_ALIKES)
def test_a_look_alike_shows_a_figure_of_its_pattern(
    seen: Seen, pattern: str, look_alike: str, figure: str, at_least: int
) -> None:
    plain = seen.share("plain", figure, at_least)
    assert seen.share(look_alike, figure, at_least) > max(0.03, 2.5 * plain)
    assert seen.share(pattern, figure, at_least) > max(0.03, 2.5 * plain)


def test_every_pattern_names_exactly_the_look_alikes_that_are_shown_to_resemble_it() -> None:
    for name, pattern in PATTERNS.items():
        assert {each for of, each, _, _ in LOOK_ALIKES if of == name} == set(pattern.look_alikes)
        assert name in {of for of, _, _ in TELLS} and pattern.tell


def test_patterns_make_up_the_share_they_say(seen: Seen) -> None:
    counts = Counter(truth.pattern for truth in seen.truth.values())
    for name, share in DEFAULT_MIX.scaled(0.12).shares.items():
        if name != "resale-triangulation":
            assert 0.6 * share < counts[name] / len(seen.truth) < 1.5 * share, name


def test_fraud_and_abuse_are_never_both(seen: Seen) -> None:
    for truth in seen.truth.values():
        kind = PATTERNS[truth.pattern].kind if truth.pattern in PATTERNS else None
        assert (truth.is_fraud, truth.is_abuse) == (kind == "fraud", kind == "abuse")
        assert not (truth.look_alike and (truth.is_fraud or truth.is_abuse))


def test_bots_hold_seats_like_clockwork_and_people_do_not(seen: Seen) -> None:
    bots = {purchase.user_id for purchase in seen.purchases("seat-hoarding")}
    holds: defaultdict[str, list[datetime]] = defaultdict(list)
    for message in seen.messages:
        if isinstance(message, SeatsHeld):
            holds[message.user_id].append(message.occurred_at)
    spread = {
        user: pstdev(gaps) / mean(gaps)
        for user, at in holds.items()
        if len(gaps := [(b - a).total_seconds() for a, b in pairwise(at)]) >= 4
    }
    assert mean(spread[user] for user in spread if user in bots) < 0.1
    assert mean(spread[user] for user in spread if user not in bots) > 0.5


def test_scalpers_keep_the_limit_per_account_and_want_one_event(seen: Seen) -> None:
    tickets: Counter[tuple[str, str]] = Counter()
    events: defaultdict[int | None, set[str]] = defaultdict(set)
    for purchase in seen.purchases("scalper-ring"):
        tickets[purchase.user_id, purchase.event_id] += purchase.n_tickets
        events[seen.truth[purchase.transaction_id].attack].add(purchase.event_id)
    assert max(tickets.values()) <= scalper_ring.STRENGTH.tickets[1]
    assert mean(tickets.values()) > 4
    assert {len(wanted) for wanted in events.values()} == {1}


@pytest.mark.parametrize("pattern", ["friendly-fraud", "refund-abuse"])
def test_what_is_clean_at_purchase_clusters_by_user(seen: Seen, pattern: str) -> None:
    purchases = seen.purchases(pattern)
    assert len(purchases) > 2.5 * len({purchase.user_id for purchase in purchases})
    declined = [m for m in seen.messages if isinstance(m, PaymentOutcome) and m.status == "declined"]
    ids = {purchase.transaction_id for purchase in purchases}
    assert sum(outcome.transaction_id in ids for outcome in declined) < 0.12 * len(ids)


def test_refund_abuse_is_refunded_mostly_and_honest_purchases_rarely(seen: Seen) -> None:
    status: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for message in seen.messages:
        if isinstance(message, PaymentOutcome):
            status[name_of(seen.truth[message.transaction_id])][message.status] += 1
    share = {who: counts["refunded"] / counts["settled"] for who, counts in status.items() if counts["settled"] > 50}
    assert share["refund-abuse"] > 0.4
    assert share["plain"] < 0.05
