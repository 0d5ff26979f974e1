"""The judge of the pricing scenarios finds every fault that is planted, and nothing where there is none."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from ibook import messages as m
from ibook.codec import decode, encode, pack_state
from ibook.rewards import EventSums, fold
from ibook.topics import FRAUD_VERDICTS, PAYMENT_OUTCOMES, PRICE_REWARDS, QUOTE_JOURNAL
from tests.chaos.judge import Lying
from tests.chaos.pricing_judge import PricingFindings, judge_pricing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Topics = dict[str, list[Lying]]


def lying(*messages: m.Message) -> list[Lying]:
    return [Lying(0, offset, 0, encode(message)) for offset, message in enumerate(messages)]


def issued(name: str, buyer: str = "") -> m.QuoteIssued:
    return m.QuoteIssued(
        message_id=name, occurred_at=NOW, quote_id=name, event_id="e", ticket_type="stalls", currency="GBP",
        price_minor=5000, slot=1, arm=1, propensity=0.5, policy_version=1, expires_at=NOW + timedelta(minutes=1),
        buyer=buyer or name,
    )  # fmt: skip


def outcome(status: Any, quote_id: str) -> m.PaymentOutcome:
    return m.PaymentOutcome(
        message_id=f"{quote_id}-{status}", occurred_at=NOW, transaction_id=f"t-{quote_id}", user_id="u", card_id="c",
        device_id="d", ip="192.0.2.1", event_id="e", amount_minor=5000, currency="GBP", n_tickets=1,
        quote_id=quote_id, status=status,
    )  # fmt: skip


def reward(sequence: int, quote_id: str, offers: int, sales: int) -> m.PriceReward:
    return m.PriceReward(
        message_id=f"{sequence}", occurred_at=NOW, event_id="e", quote_id=quote_id, ticket_type="stalls", arm=1,
        price_minor=5000, slot=1, offered_at=NOW, offers=offers, sales=sales, revenue_minor=5000 * sales,
        source_partition=0, sequence=sequence,
    )  # fmt: skip


REWARDS = [reward(0, "sold", 1, 1), reward(1, "back", 1, 1), reward(2, "back", -1, -1), reward(3, "unsold", 1, 0),
           reward(4, "late", 1, 0), reward(5, "late", 0, 1)]  # fmt: skip


@pytest.fixture
def topics() -> Topics:
    """A sale, a refund, an offer that lapsed, one that sold late, one of a bot, and one that our verdict declined."""
    declined = m.FraudVerdict(
        message_id="v", occurred_at=NOW, transaction_id="t", action="decline", score_band="high", posture="normal",
        model_version="none", quote_id="declined", event_id="e",
    )  # fmt: skip
    quotes = [issued(name) for name in ("sold", "back", "unsold", "declined")]
    return {
        QUOTE_JOURNAL.name: lying(*quotes, issued("late", "bot"), issued("capped", "bot")),
        PAYMENT_OUTCOMES.name: lying(
            outcome("settled", "sold"), outcome("settled", "sold"), outcome("refunded", "back"),
            outcome("settled", "back"), outcome("settled", "late"),
        ),
        FRAUD_VERDICTS.name: lying(declined),
        PRICE_REWARDS.name: lying(*REWARDS, REWARDS[0]),
    }  # fmt: skip


def judged(topics: Topics, rewards_folded: list[m.PriceReward] = REWARDS) -> PricingFindings:
    sums = EventSums()
    for one in rewards_folded:
        fold(sums, one, 86_400.0)
    answered = ["sold", "back", "unsold", "declined", "late", "capped"]
    return judge_pricing(answered, topics, {"e": pack_state(sums)}, offers_of_a_buyer=1)


def test_nothing_is_found_where_all_is_well(topics: Topics) -> None:
    found = judged(topics)
    assert found.faults() == []
    assert (found.quotes, found.rewards, found.repeated) == (6, 6, 1)


def lose_a_quote(topics: Topics) -> None:
    del topics[QUOTE_JOURNAL.name][1]


def lose_a_reward(topics: Topics) -> None:
    topics[PRICE_REWARDS.name] = [one for one in topics[PRICE_REWARDS.name] if read(one).quote_id != "sold"]


def sell_twice(topics: Topics) -> None:
    topics[PRICE_REWARDS.name] += lying(reward(6, "sold", 1, 1))


def sell_and_undo_and_sell(topics: Topics) -> None:
    topics[PRICE_REWARDS.name] += lying(reward(6, "sold", -1, -1), reward(7, "sold", 1, 1))


def count_the_bot(topics: Topics) -> None:
    topics[PRICE_REWARDS.name] += lying(reward(6, "capped", 1, 0))


def renumber(topics: Topics) -> None:
    topics[PRICE_REWARDS.name] += lying(replace(REWARDS[0], price_minor=4000))


def read(one: Lying) -> m.PriceReward:
    found: m.PriceReward = decode(one.value, m.PriceReward)
    return found


@pytest.mark.parametrize(
    ("plant", "kind"),
    [(lose_a_quote, "lost"), (lose_a_reward, "wrong"), (sell_twice, "wrong"), (sell_and_undo_and_sell, "wrong"),
     (count_the_bot, "wrong"), (renumber, "conflicting")],
)  # fmt: skip
def test_every_fault_is_found(topics: Topics, plant: Callable[[Topics], None], kind: str) -> None:
    plant(topics)
    assert getattr(judged(topics), kind)


def test_a_fault_names_its_kind_its_count_and_three_places(topics: Topics) -> None:
    topics[PRICE_REWARDS.name] = [one for one in topics[PRICE_REWARDS.name] if read(one).quote_id == "sold"]
    wrong, astray = judged(topics).faults()
    assert wrong == (
        "2 quotes came to something else: ['…late, journalled at 0@4: no reward, instead of (1, 1)', "
        "'…unsold, journalled at 0@2: no reward, instead of (1, 0)']"
    )
    assert astray.startswith("1 cells are not the sum of the rewards")


def test_only_what_no_time_will_mend_is_final(topics: Topics) -> None:
    lose_a_quote(topics)
    assert judged(topics).faults() and not judged(topics).final()
    renumber(topics)
    assert judged(topics).final()


def test_a_reward_published_again_a_night_later_is_no_fault(topics: Topics) -> None:
    earlier = judged(topics)
    topics[PRICE_REWARDS.name] += lying(*REWARDS[-2:])
    found = judged(topics).since(earlier)
    assert (found.faults(), found.quotes, found.repeated) == ([], 0, 2)


def test_only_what_is_new_since_an_earlier_look_is_a_fault(topics: Topics) -> None:
    lose_a_quote(topics)
    earlier = judged(topics)
    assert not judged(topics).since(earlier).faults()
    sell_twice(topics)
    assert judged(topics).since(earlier).wrong


def test_a_learner_that_lost_or_doubled_a_reward_is_found(topics: Topics) -> None:
    assert judged(topics, REWARDS[:-1]).astray
    again = replace(REWARDS[0], sequence=6)
    assert judged(topics, [*REWARDS, again]).astray
