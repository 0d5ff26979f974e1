"""What a profile's own models learn: only what was known, and rings at a fixed rate of false alarms."""

from dataclasses import replace

import numpy as np
import pytest

from ibook.clock import to_us
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.rules import load_policy
from simulator.profile import difficulty
from simulator.profile.difficulty import Split
from simulator.profile.observed import Observed, observe
from simulator.profile.rings import COLUMNS, measure, ring_numbers
from tests.profiled import BEGIN, DAY, Shop


@pytest.fixture
def shop() -> Shop:
    return Shop()


# ------------------------------------------------------------------------------------------------------ what is learned
def cut_at(shop: Shop, day: float, *, mature_days: float = 60.0) -> tuple[dict[str, bool], set[str]]:
    """What a model trained at that day learns per transaction, and the transactions it is judged by."""
    split = difficulty.split_at(shop.observed, to_us(BEGIN + day * DAY), mature_days=mature_days)
    ids = [purchase.transaction_id for purchase in shop.observed.purchases]
    learned = {ids[place]: bool(target) for place, target in zip(split.training, split.targets, strict=True)}
    return learned, {ids[place] for place in split.test}


def test_a_label_that_arrives_after_the_cut_is_not_known_at_it(shop: Shop) -> None:
    early, late = shop.buy(0, pattern="stolen-card"), shop.buy(1, pattern="stolen-card")
    shop.label(early, "chargeback", 50)
    shop.label(late, "chargeback", 110)
    assert cut_at(shop, 100)[0] == {early.transaction_id: True, late.transaction_id: False}
    assert cut_at(shop, 112)[0] == {early.transaction_id: True, late.transaction_id: True}


def test_a_purchase_too_young_to_be_disputed_teaches_nothing_even_with_a_label(shop: Shop) -> None:
    old, young = shop.buy(30), shop.buy(50, pattern="stolen-card")
    shop.label(young, "early_warning", 3)
    assert cut_at(shop, 100)[0] == {old.transaction_id: False}
    assert set(cut_at(shop, 100, mature_days=40)[0]) == {old.transaction_id, young.transaction_id}


def test_maturity_counts_label_days(shop: Shop) -> None:
    shop.observed.label_day_seconds = 43_200.0
    old, young = shop.buy(60), shop.buy(80)
    assert set(cut_at(shop, 100)[0]) == {old.transaction_id}
    assert young.transaction_id not in cut_at(shop, 100)[0]


def test_what_was_declined_or_taken_back_teaches_nothing_wrong(shop: Shop) -> None:
    shop.buy(0, pattern="card-testing", attack=1, status="declined")
    back = shop.buy(1)
    shop.label(back, "chargeback", 20)
    shop.label(back, "reversal", 30, is_fraud=False)
    assert cut_at(shop, 100)[0] == {back.transaction_id: False}


def test_everything_after_the_cut_judges_and_nothing_before_it(shop: Shop) -> None:
    before, at, after = shop.buy(10), shop.buy(100), shop.buy(120, pattern="card-testing", attack=1, status="declined")
    learned, judged = cut_at(shop, 100)
    assert judged == {at.transaction_id, after.transaction_id}
    assert set(learned) == {before.transaction_id}


def telling(shop: Shop, *, n: int = 400) -> tuple[np.ndarray, Split]:
    """Half taught, half judged; one feature tells every fraud but one pattern, which only appears later."""
    column = FEATURE_NAMES.index("device_distinct_cards_1h")
    features = np.zeros((2 * n, len(FEATURE_NAMES)), np.float32)
    targets = []
    for number in range(2 * n):
        is_fraud = number % 10 == 0
        pattern = "stolen-card" if number >= n and number % 20 == 0 else "card-testing"
        abuse = "scalper-ring" if number % 10 == 5 else "honest"
        shop.buy(number / 10, user=f"u{number}", pattern=pattern if is_fraud else abuse)
        features[number, column] = 5.0 if is_fraud and pattern == "card-testing" else 1.0
        targets.append(is_fraud)
    return features, Split(np.arange(n), np.array(targets[:n]), np.arange(n, 2 * n))


def test_a_model_finds_what_it_was_taught_and_not_the_pattern_that_came_later(shop: Shop) -> None:
    features, split = telling(shop)
    found = difficulty.measure(shop.observed, features, load_policy(), split, seed=1)
    assert (found.n_training, found.n_training_frauds, found.n_test, found.n_test_frauds) == (400, 40, 360, 40)
    assert found.recall_by_pattern == {"card-testing": pytest.approx(0.6), "stolen-card": 0.0}  # 12 alarms of 20
    assert found.recall_of_abuse == {"scalper-ring": 0.0}
    assert found.precision_at_share == 1.0
    assert found.average_precision["model"] == pytest.approx(0.5 + 0.5 * 40 / 360, abs=0.01)
    assert found.average_precision["request_fields_only"] < 0.3
    assert found.test_base_rate == pytest.approx(40 / 360)
    low, high = found.interval["model"]
    assert low < found.average_precision["model"] < high


def test_the_same_seed_gives_the_same_difficulty(shop: Shop) -> None:
    features, split = telling(shop)
    one, same = (difficulty.measure(shop.observed, features, load_policy(), split, seed=1) for _ in range(2))
    assert one == same


def test_abuse_is_neither_fraud_nor_a_false_alarm(shop: Shop) -> None:
    features, split = telling(shop)
    before = difficulty.measure(shop.observed, features, load_policy(), split, seed=1)
    column = FEATURE_NAMES.index("device_distinct_cards_1h")
    features[[place for place in split.test if place % 10 == 5], column] = 5.0
    after = difficulty.measure(shop.observed, features, load_policy(), split, seed=1)
    assert after.average_precision == before.average_precision
    assert after.recall_of_abuse["scalper-ring"] > 0


def test_rules_score_by_the_harshest_that_is_hit(shop: Shop) -> None:
    features = np.full((3, len(FEATURE_NAMES)), np.nan, np.float32)
    features[1, FEATURE_NAMES.index("card_attempts_1m")] = 6
    features[2, FEATURE_NAMES.index("device_attempts_1m")] = 10
    purchases = [shop.buy(day) for day in (1, 2, 3)]
    assert difficulty.rule_scores(features, purchases, load_policy()).tolist() == [0, 3, 2]


def test_too_few_frauds_are_refused_with_what_to_do(shop: Shop) -> None:
    features, split = telling(shop)
    few = replace(split, targets=np.zeros_like(split.targets))
    with pytest.raises(ConfigurationError, match=r"Only 0 frauds known when training began.*--purchases"):
        difficulty.measure(shop.observed, features, load_policy(), few, seed=1)


def test_features_are_those_of_the_engine_in_the_order_of_the_purchases(shop: Shop) -> None:
    bought = [shop.buy(number / 1440, user="u") for number in range(3)]
    other = Observed(truth=shop.truth)
    features = observe([("ticket-purchases", one.card_id, one) for one in bought], other)
    assert other.purchases == bought
    assert features[:, FEATURE_NAMES.index("card_attempts_1h")].tolist() == [1, 2, 3]


# ---------------------------------------------------------------------------------------------------------------- rings
def test_rings_are_caught_at_a_fixed_rate_of_false_alarms(shop: Shop) -> None:
    honest = [shop.buy(day / 100) for day in range(1_000)]
    for day in range(20):
        shop.buy(20 + day, pattern="scalper-ring", attack=1)
    features = np.full((1_020, len(FEATURE_NAMES)), np.nan, np.float32)
    columns = [FEATURE_NAMES.index(name) for name in COLUMNS[:3]]
    features[:1_000, columns] = 1.0
    features[0, columns] = 6.0, 2.0, 10.0  # one honest purchase that nearly looks like a ring's
    features[1_000:1_015, columns] = 6.0, 2.0, 12.0
    found = measure(shop.observed, features, load_policy())
    assert (found.n_ring, found.n_honest) == (20, len(honest))
    assert found.recall_at == {0.0005: 0.75, 0.001: 0.75, 0.002: 0.75}
    assert (found.rule_recall, found.rule_false_alarms, found.mistaken) == (0.75, 0.0, {})


def test_accounts_that_nobody_saw_before_weigh_more_and_crowds_nothing() -> None:
    features = np.full((3, len(FEATURE_NAMES)), np.nan, np.float32)
    columns = [FEATURE_NAMES.index(name) for name in COLUMNS]
    features[0, columns[:3]] = 4.0, 2.0, 6.0
    features[1, columns] = 4.0, 2.0, 6.0, 60.0
    features[2, columns] = 400.0, 5.0, 900.0, 60.0
    assert ring_numbers(features).tolist() == [6.0, 24.0, 0.0]
