"""Verdicts against the truth, by hand: per pattern and look-alike, in money, by scores, and by cards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.record import PurchaseRecord
from simulator.validators import accuracy, figures_of, measures_of
from simulator.validators.cards import card_precision
from simulator.validators.curves import average_precision, curve_of
from tests.simulated_runs import abuse, at, fraud, purchase, purchases, run


def test_recall_precision_and_false_declines_by_hand() -> None:
    found = accuracy.figures(run(purchases=(
        fraud(0), fraud(1, action="review", outcome="settled"), fraud(2, action="approve", outcome="settled"),
        fraud(3, action=None, outcome="open"),  # nobody answered: it counts for nothing here
        purchase(4, action="decline", outcome="refused"), purchase(5, action="review"), purchase(6), purchase(7),
        abuse(8, action="decline", outcome="refused"), abuse(9),
    )))  # fmt: skip
    assert str(found.recall) == "2 of 3"
    assert str(found.precision) == "2 of 4"
    assert str(found.false_declines) == "1 of 4"
    assert str(found.abuse_flagged) == "1 of 2"
    assert str(found.plain_accuracy) == "4 of 7"
    assert str(found.plain_accuracy_of_nothing) == "4 of 7"


def test_abuse_is_neither_a_hit_nor_a_false_alarm() -> None:
    without = accuracy.figures(run())
    rings = tuple(abuse(10_000 + number, action="decline", outcome="refused", score=0.99) for number in range(500))
    beside = accuracy.figures(run(purchases=(*purchases(), *rings)))
    assert beside.recall == without.recall
    assert beside.precision == without.precision
    assert beside.false_declines == without.false_declines
    assert beside.average_precision == without.average_precision
    assert beside.abuse_flagged.value != without.abuse_flagged.value


def test_each_pattern_is_counted_with_its_money() -> None:
    found = accuracy.figures(run(purchases=(
        fraud(0, "stolen-card", amount_minor=700), fraud(1, "stolen-card", action="approve", outcome="settled"),
        abuse(2, "seat-hoarding", action="review"), purchase(3),
    ))).patterns  # fmt: skip
    assert set(found) == {"stolen-card", "seat-hoarding"}
    stolen, hoarding = found["stolen-card"], found["seat-hoarding"]
    assert (stolen.kind, stolen.purchases, str(stolen.flagged)) == ("fraud", 2, "1 of 2")
    assert (stolen.lost_minor, stolen.saved_minor) == (4_000, 700)
    assert (hoarding.kind, str(hoarding.flagged)) == ("abuse", "1 of 1")


def test_a_pattern_nobody_catches_shows_in_its_own_recall() -> None:
    hidden = tuple(fraud(9_000 + n, "resale", action="approve", outcome="settled", score=0.1) for n in range(40))
    record = run(purchases=(*purchases(), *hidden))
    found = {measure.name: measure for measure in measures_of(record, figures_of(record))}
    assert found["accuracy.recall_resale"].value == 0
    assert (found["accuracy.recall_card-testing"].value or 0) > 0.8


def test_look_alikes_are_told_apart_and_flagging_is_not_yet_turning_down() -> None:
    found = accuracy.figures(run(purchases=(
        purchase(0, look_alike="traveller", action="challenge", outcome="settled"),
        purchase(1, look_alike="traveller", action="decline", outcome="refused"), purchase(2),
        fraud(3, look_alike="traveller"),
    ))).look_alikes  # fmt: skip
    assert set(found) == {"traveller", "none"}
    assert (str(found["traveller"].flagged), str(found["traveller"].turned_down)) == ("2 of 2", "1 of 2")


def test_a_look_alike_that_hardly_buys_is_not_the_worst() -> None:
    lone = purchase(9_000, look_alike="fan_club", action="decline", outcome="refused")
    found = {each.name: each for each in measures_of(run(), figures_of(run(purchases=(*purchases(), lone))))}
    assert found["accuracy.false_declines_fan_club"].value == 1
    assert "fan_club" not in found["accuracy.worst_look_alike"].sentence


def test_money_is_lost_saved_or_neither() -> None:
    found = accuracy.figures(run(purchases=(
        fraud(0, amount_minor=1), fraud(1, action="approve", outcome="settled", amount_minor=20),
        fraud(2, action="approve", outcome="declined", amount_minor=300),
        fraud(3, action="review", outcome="open", amount_minor=4_000),
        purchase(4, action="decline", outcome="refused", amount_minor=50_000), purchase(5, amount_minor=600_000),
    ))).money  # fmt: skip
    assert (found.saved_minor, found.lost_minor, found.declined_by_issuer_minor) == (1, 20, 300)
    assert (found.open_minor, found.honest_turned_down_minor, found.attempted_minor) == (4_000, 50_000, 4_321)


def test_plain_accuracy_stands_beside_that_of_catching_nobody() -> None:
    found = accuracy.figures(run())
    assert found.plain_accuracy_of_nothing.value == pytest.approx(found.honest / (found.honest + found.fraud))
    assert "flatters" in accuracy.why_plain_accuracy_flatters(found)
    assert accuracy.why_plain_accuracy_flatters(accuracy.figures(run(purchases=()))) == ""


# ----------------------------------------------------------------------------------------------------------- scores
scored = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0])), min_size=2, max_size=60)


@given(scored)
def test_average_precision_is_scikit_learns_without_abuse_and_silence(pairs: list[tuple[bool, float]]) -> None:
    from sklearn.metrics import average_precision_score

    every = [fraud(n, score=score) if bad else purchase(n, score=score) for n, (bad, score) in enumerate(pairs)]
    mine = accuracy.figures(run(purchases=(*every, abuse(900, score=1.0), fraud(901, score=None)))).average_precision
    kinds = [bad for bad, _ in pairs]
    if len(set(kinds)) < 2:
        assert mine is None
    else:
        assert mine == pytest.approx(average_precision_score(kinds, [score for _, score in pairs]))


@given(scored)
def test_the_curve_begins_strict_ends_at_full_recall_and_has_the_same_area(pairs: list[tuple[bool, float]]) -> None:
    every = [fraud(n, score=score) if bad else purchase(n, score=score) for n, (bad, score) in enumerate(pairs)]
    curve, area = curve_of(every), average_precision(every)
    if area is None:
        assert curve.recall == ()
        return
    assert (curve.recall[0], curve.recall[-1]) == (0.0, 1.0)
    steps = zip(curve.recall[1:], curve.recall, curve.precision[1:], strict=False)
    assert sum((later - before) * height for later, before, height in steps) == pytest.approx(area)


def test_score_histograms_hold_every_score_of_a_pattern() -> None:
    three = (purchase(0, score=0.0), purchase(1, score=1.0), fraud(2, score=0.5))
    found = accuracy.figures(run(purchases=three)).scores
    assert (sum(found["honest"].counts), found["honest"].counts[0], found["honest"].counts[-1]) == (2, 1, 1)
    assert found["card-testing"].counts[10] == 1


# ------------------------------------------------------------------------------------------------------------ cards
def card(name: str, second: float, score: float, *, bad: bool = False) -> PurchaseRecord:
    make = fraud if bad else purchase
    return make(int(second * 50), card_id=name, score=score, occurred_us=at(second))


def test_card_precision_by_hand() -> None:
    """Two periods: in the first a and b are looked at, and a is bad; then a is blocked, c and d are looked at."""
    found = card_precision(run(purchases=(
        card("a", 1, 0.9, bad=True), card("a", 2, 0.2), card("b", 3, 0.8), card("c", 4, 0.7, bad=True),
        card("a", 11, 0.99, bad=True), card("c", 12, 0.6, bad=True), card("d", 13, 0.5), card("e", 14, 0.1),
    )), k=2)  # fmt: skip
    assert found is not None
    assert (found.periods, found.period_seconds) == (2, 10.0)
    assert found.value == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert found.best == pytest.approx((2 / 2 + 1 / 2) / 2)  # a and c could have been found, then only c is left


def test_a_card_counts_once_however_often_it_pays() -> None:
    burst = tuple(card("a", second / 10, 0.9, bad=True) for second in range(50))
    found = card_precision(run(purchases=(*burst, card("b", 1, 0.1))), k=2)
    assert found is not None
    assert (found.value, found.best) == (0.5, 0.5)


def test_a_purchase_after_the_load_makes_no_period_of_its_own() -> None:
    found = card_precision(run(purchases=(card("a", 1, 0.9, bad=True), card("b", 55, 0.9), card("c", 60.01, 0.5))))
    assert found is not None
    assert found.periods == 2


def test_long_runs_count_by_days() -> None:
    found = card_precision(run(seconds=3 * 86_400.0, purchases=(card("a", 1, 0.9, bad=True), card("b", 90_000, 0.9))))
    assert found is not None
    assert (found.period_seconds, found.periods) == (86_400.0, 2)


def test_an_honest_buyer_who_disputes_is_honest_in_every_plot() -> None:
    found = figures_of(run(purchases=(purchase(0, pattern="friendly"), purchase(1), fraud(2))))
    assert {name: sum(counts) for name, counts in found.traffic.purchases.items()} == {"honest": 2, "card-testing": 1}
    assert set(found.accuracy.scores) == {"honest", "card-testing"}
