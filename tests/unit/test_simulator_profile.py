"""A profile counts what is there, learns only what was known, and fails where the traffic is not what it should be."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ibook.clock import to_us
from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES
from ibook.messages import EventListed, FraudLabel, PaymentOutcome, PurchaseRequested, TicketType
from ibook.rules import load_policy
from simulator import profile as profiles
from simulator.__main__ import app
from simulator.backoffice import what_was_ordered
from simulator.profile import BOUNDS, Profile, difficulty, facts
from simulator.profile.difficulty import Difficulty, Split
from simulator.profile.leaks import Finding
from simulator.profile.observed import Observed, observe
from simulator.profile.rings import COLUMNS, Rings, measure, ring_numbers
from simulator.profile.show import show
from simulator.truth import DemandTruth, TransactionTruth

BEGIN = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class Shop:
    """Writes a past by hand. Times are days since `BEGIN`, label days are real ones."""

    def __init__(self) -> None:
        self.truth: dict[str, TransactionTruth] = {}
        self.observed = Observed(truth=self.truth)

    def list_event(self, event: str, *, on_sale: float, starts: float) -> None:
        kind = TicketType(name="standard", list_price_minor=5000, floor_minor=3000, cap_minor=8000)
        self.observed.see(EventListed(
            message_id=f"l/{event}", occurred_at=BEGIN, event_id=event, name=event, category="sports", promoter_id="p",
            venue="v", capacity=100, on_sale_at=BEGIN + on_sale * DAY, starts_at=BEGIN + starts * DAY, currency="EUR",
            ticket_types=[kind],
        ))  # fmt: skip

    def buy(
        self, day: float, *, user: str = "u", event: str = "e", starts: float = 100.0, tickets: int = 2,
        pattern: str = "honest", attack: int | None = None, category: str = "sports", status: str = "settled",
    ) -> PurchaseRequested:  # fmt: skip
        number = len(self.truth)
        is_fraud = pattern in ("card-testing", "stolen-card", "account-takeover", "friendly-fraud")
        at = BEGIN + day * DAY
        purchase = PurchaseRequested(
            message_id=f"m{number}", occurred_at=at, transaction_id=f"t{number}", user_id=user, card_id=f"c/{user}",
            device_id=f"d/{user}", ip="1.2.3.4", event_id=event, amount_minor=5000 * tickets, currency="EUR",
            n_tickets=tickets, ticket_type="standard", bin="412345", card_country="DE", ip_country="DE",
            email_domain="example.org", account_opened_at=BEGIN - 30 * DAY, category=category,  # type: ignore[arg-type]
            starts_at=BEGIN + starts * DAY, list_price_minor=5000, promoter_id="p",
        )  # fmt: skip
        self.truth[purchase.transaction_id] = TransactionTruth(
            transaction_id=purchase.transaction_id, occurred_us=to_us(at), is_fraud=is_fraud, pattern=pattern,
            look_alike="", attack=attack, is_abuse=pattern == "scalper-ring",
        )  # fmt: skip
        self.observed.see(purchase)
        for each in ("declined",) if status == "declined" else ("authorised", status):
            self.observed.see(PaymentOutcome(
                message_id=f"{purchase.transaction_id}/{each}", occurred_at=at + timedelta(seconds=2),
                **what_was_ordered(purchase), status=each,  # type: ignore[arg-type]
            ))  # fmt: skip
        return purchase

    def label(self, purchase: PurchaseRequested, source: str, after_days: float, *, is_fraud: bool = True) -> None:
        self.observed.see(FraudLabel(
            message_id=f"{purchase.transaction_id}/{source}", occurred_at=purchase.occurred_at + after_days * DAY,
            **what_was_ordered(purchase), source=source, is_fraud=is_fraud,  # type: ignore[arg-type]
            effective_at=purchase.occurred_at,
        ))  # fmt: skip


@pytest.fixture
def shop() -> Shop:
    return Shop()


def counted(shop: Shop) -> dict[str, float | None]:
    return facts.count(shop.observed)


# --------------------------------------------------------------------------------------------------------- the facts
def test_fraud_and_abuse_are_shares_of_all_purchases(shop: Shop) -> None:
    for day, pattern, attack in [*((d, "honest", None) for d in range(15)), (15, "stolen-card", None),
                                 (16, "card-testing", 1), (17, "card-testing", 1), (18, "scalper-ring", 2),
                                 (19, "honest", None)]:  # fmt: skip
        shop.buy(day, pattern=pattern, attack=attack)
    found = counted(shop)
    assert found["base_rate"] == pytest.approx(3 / 20)
    assert found["fraud_outside_attacks"] == pytest.approx(1 / 20)
    assert found["abuse_rate"] == pytest.approx(1 / 20)


def test_decline_rates_are_of_the_payments_tried_inside_and_outside_an_attack(shop: Shop) -> None:
    for number in range(20):
        shop.buy(number, status="declined" if number == 0 else "settled")
        shop.buy(number, pattern="card-testing", attack=1, status="settled" if number < 5 else "declined")
    found = counted(shop)
    assert found["declined_honest"] == pytest.approx(1 / 20)
    assert found["declined_in_testing"] == pytest.approx(15 / 20)
    assert found["declined_in_takeovers"] is None


def test_orders_per_user_count_what_was_honest_and_settled(shop: Shop) -> None:
    for number in range(10):
        shop.buy(number, user=f"u{number}", tickets=3)
    for number in range(5):
        shop.buy(number, user=f"u{number}", tickets=1)
    shop.buy(1, user="u9", status="declined")
    shop.buy(1, user="u9", pattern="stolen-card")
    found = counted(shop)
    assert found["orders_per_user"] == pytest.approx(1.5)
    assert found["repeat_buyers"] == pytest.approx(0.5)
    assert found["tickets_per_order"] == pytest.approx((10 * 3 + 5) / 15)


def test_lead_time_is_of_events_whose_whole_sale_was_seen_and_that_were_no_rush(shop: Shop) -> None:
    shop.buy(0)
    shop.list_event("whole", on_sale=5, starts=50)
    shop.list_event("open", on_sale=5, starts=500)
    shop.list_event("rush", on_sale=5, starts=50)
    shop.observed.rushed = frozenset({"rush"})
    for number in range(10):
        shop.buy(10 + 4 * number, event="whole", starts=50, tickets=1)  # 40, 36, … 4 days before
        shop.buy(10 + 4 * number, event="open", starts=500)
        shop.buy(10 + 4 * number, event="rush", starts=50)
    shop.buy(60)
    found = counted(shop)
    assert found["lead_days"] == pytest.approx(22.0)
    assert found["last_week"] == pytest.approx(1 / 10)
    assert found["last_3_days"] == pytest.approx(0.0)


def test_gaps_of_a_clock_do_not_vary_and_gaps_of_people_do(shop: Shop) -> None:
    for number in range(12):
        shop.buy(number / 1440, pattern="scalper-ring", attack=1)
        shop.buy((number + number % 2 * 0.9) / 1440)  # in pairs
    found = counted(shop)
    assert found["gaps_of_scripts"] == pytest.approx(0.0)
    people = found["gaps_of_people"]
    assert people is not None and 0.8 < people < 1.0


def test_gaps_of_few_purchases_say_nothing() -> None:
    assert facts.variation_of_gaps([[1, 2, 3, 4, 5, 6, 7]]) is None
    assert facts.variation_of_gaps([[1, 2, 3, 4, 5, 6, 7, 8]]) == 0.0


def test_risk_is_the_fraud_rate_near_the_event_against_far_from_it(shop: Shop) -> None:
    for number in range(10):
        shop.buy(20, pattern="stolen-card" if number < 1 else "honest", category="concerts")
    for number in range(10):
        shop.buy(99.5, pattern="stolen-card" if number < 4 else "honest")
    found = counted(shop)
    assert found["risk_on_the_day"] == pytest.approx(4.0)
    assert found["risk_of_concerts"] == pytest.approx(1 / 4)


def test_labels_are_those_of_purchases_old_enough_to_have_all_of_them(shop: Shop) -> None:
    for number in range(20):
        disputed = shop.buy(1, pattern="friendly-fraud" if number < 5 else "stolen-card")
        shop.label(disputed, "chargeback", 20 + number)
        if number < 8:
            shop.label(disputed, "early_warning", 5)
        if number < 2:
            shop.label(disputed, "reversal", 50, is_fraud=False)
    young = shop.buy(100, pattern="stolen-card")
    shop.label(young, "chargeback", 2)
    shop.buy(150)
    found = counted(shop)
    assert found["chargeback_days_median"] == pytest.approx(29.0)
    assert found["chargeback_days_p95"] == pytest.approx(38.0)
    assert found["warned"] == pytest.approx(8 / 20)
    assert found["reversed"] == pytest.approx(2 / 20)
    assert found["friendly_disputes"] == pytest.approx(5 / 20)
    assert found["unlabelled_fraud"] == pytest.approx(0.0)


def test_label_days_are_those_of_life_however_fast_they_pass(shop: Shop) -> None:
    shop.observed.label_day_seconds = 43_200.0
    for _ in range(10):
        shop.label(shop.buy(1, pattern="stolen-card"), "chargeback", 15)
    shop.buy(80)
    assert counted(shop)["chargeback_days_median"] == pytest.approx(30.0)


def test_elasticities_are_the_hidden_ones(shop: Shop) -> None:
    shop.observed.demand = [
        DemandTruth(event_id="e", ticket_type="t", list_price_minor=100, intercept=0, slope=-1, elasticity_at_list=each)
        for each in (-0.5, -1.0, -1.9)
    ]
    found = counted(shop)
    assert (found["elasticity_lowest"], found["elasticity_median"], found["elasticity_highest"]) == (-1.9, -1.0, -0.5)


def test_an_empty_past_has_no_figures_rather_than_wrong_ones(shop: Shop) -> None:
    assert set(counted(shop).values()) == {None}


# --------------------------------------------------------------------------------------------------- what is learned
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


# ----------------------------------------------------------------------------------------------------- what it must be
GOOD = Profile(
    rings=Rings(12, 900, {0.001: 0.75}, 0.8, 0.002, {"fan_club": 2}),
    seed=1, days=180, purchases=1000, figures={figure.key: None for figure in facts.FIGURES},
    difficulty=Difficulty(
        n_training=100, n_training_frauds=30, n_test=100, n_test_frauds=30,
        average_precision={"model": 0.5, "rules": 0.1, "request_fields_only": 0.2},
        interval=dict.fromkeys(("model", "rules", "request_fields_only"), (0.0, 1.0)),
        precision_at_share=0.8, recall_by_pattern={"stolen-card": 0.25}, recall_of_abuse={"scalper-ring": 0.0},
    ),
    leaks=[Finding("user_id", "all", 50, 0.52, (0.4, 0.6))],
)  # fmt: skip


def with_precision(**values: float) -> Profile:
    return replace(GOOD, difficulty=replace(
        GOOD.difficulty, average_precision=GOOD.difficulty.average_precision | values
    ))  # fmt: skip


def test_a_profile_within_all_ranges_has_nothing_to_say() -> None:
    assert GOOD.outside() == []


@pytest.mark.parametrize(("profile", "what"), [
    (with_precision(model=0.71), "average precision of a model"),
    (with_precision(model=0.29), "average precision of a model"),
    (with_precision(rules=0.26), "times that of the rules"),
    (with_precision(request_fields_only=0.4), "times that of a model on the request alone"),
    (replace(GOOD, leaks=[Finding("user_id", "all", 50, 0.7, (0.4, 0.6))]), "ids, order or formatting"),
    (replace(GOOD, unsearched=("resale-triangulation",)), "patterns that were not searched"),
    (replace(GOOD, figures=GOOD.figures | {"base_rate": 0.2}), "payment fraud among purchases is 0.2"),
    (replace(GOOD, figures=GOOD.figures | {"last_week": 0.1}), "sold in the last week"),
])  # fmt: skip
def test_a_figure_outside_its_range_is_named(profile: Profile, what: str) -> None:
    sentences = profile.outside()
    assert sentences and all(what in sentence for sentence in sentences[:1])


def run(monkeypatch: pytest.MonkeyPatch, profile: Profile, path: Path) -> tuple[int, str]:
    monkeypatch.setattr(profiles, "profile", lambda seed, *, days, purchases: profile)
    result = CliRunner().invoke(app, ["profile", "--json", str(path)])
    return result.exit_code, result.output


def test_the_command_prints_and_writes_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, output = run(monkeypatch, GOOD, tmp_path / "profile.json")
    assert code == 0
    assert "average precision, request fields only" in output and "Eventbrite" in output
    found = json.loads((tmp_path / "profile.json").read_text())
    assert found["average_precision"] == {"model": 0.5, "rules": 0.1, "request_fields_only": 0.2}
    assert found["recall_by_pattern"] == {"stolen-card": 0.25}
    assert found["base_rate"] is None and found["outside"] == []
    assert "labels come 2 times as fast as in life" in output and found["compress"] == 2.0


def test_the_command_fails_with_one_sentence_when_a_figure_is_out_of_range(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, output = run(monkeypatch, with_precision(model=0.97), tmp_path / "profile.json")
    assert code == 1
    assert "simulator: Out of range: average precision of a model on window features is 0.97" in output
    assert json.loads((tmp_path / "profile.json").read_text())["outside"]


def test_every_range_is_shown_beside_its_figure(capsys: pytest.CaptureFixture[str]) -> None:
    show(GOOD)
    printed = capsys.readouterr().out
    assert all(bound.what in printed for bound in BOUNDS)
    assert "35.0% to 65.0%" in printed and "0.3 to 0.7" in printed


# --------------------------------------------------------------------------------------------------------------- rings
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
