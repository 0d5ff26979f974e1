"""A past decided once more: what is known is exact, what chance let through speaks for the like of it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ibook.backtest import KINDS, UNKNOWN, Compared, Kind, Moved, Past, Rules, compare, decide_again, past_of
from ibook.backtest_money import savings
from ibook.costs import ACTIONS, Costs
from ibook.features import FEATURE_NAMES, vector
from ibook.fraud import VerdictPolicy, load_policy, parse_policy
from ibook.messages import Action
from ibook.rules import DEFAULT_POLICY_PATH
from tests.evidence import evidence_for
from tests.traffic import purchase

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PLAIN = Costs(margin=0.1, goodwill_minor=0, chargeback_fee_minor=0, review_minor=100, review_errs=0,
              challenge_abandoned=0, challenge_passed=0)  # fmt: skip
POLICY = load_policy()


def policy_with(**changed: tuple[str, str]) -> VerdictPolicy:
    """The packaged policy with other texts in place of some."""
    text = DEFAULT_POLICY_PATH.read_text()
    for old, new in changed.values():
        assert old in text
        text = text.replace(old, new)
    return parse_policy(text, "test")


def past(name: str, *, score: float | None = 0.1, by: VerdictPolicy = POLICY, **changed: object) -> Past:
    """A first purchase of a card, decided by a policy in posture `normal` (or without a score)."""
    bought = purchase(name, now=NOW, key=name, promoter_id="p", **changed)
    undecided = Past(
        purchase=bought, features=vector(bought, {}), posture="normal" if score is not None else "rules_only",
        score=score, decided_at=NOW, action="approve", propensity=1.0, rules=(),
    )  # fmt: skip
    [decision] = decide_again([undecided], Rules(by))
    return undecided._replace(
        action=decision.action, propensity=decision.propensity, rules=decision.rules,
        seen_chance=decision.propensity, is_seen=decision.explored or decision.propensity == 1.0,
    )  # fmt: skip


def nobody_knows(_: str) -> Kind | None:
    return None


def moved(rows: Sequence[tuple[Action, Action, float, Kind | None]], cards: Sequence[int] | None = None) -> Moved:
    """Rows of (before, after, amount, kind) without any chance."""
    hot = np.eye(len(ACTIONS))
    return Moved(
        cards=np.array(cards or range(len(rows)), dtype=np.int64),
        amounts=np.array([row[2] for row in rows], dtype=np.float64),
        before=np.array([hot[ACTIONS.index(row[0])] for row in rows]),
        after=np.array([hot[ACTIONS.index(row[1])] for row in rows]),
        kinds=np.array([UNKNOWN if row[3] is None else KINDS.index(row[3]) for row in rows], dtype=np.int64),
        seen_chance=np.ones(len(rows)), is_seen=np.ones(len(rows), dtype=np.bool_),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------- by hand
def test_a_difference_that_can_be_checked_by_hand() -> None:
    found = savings(moved([
        ("approve", "decline", 10_000, "fraud"),   # saves the dispute
        ("approve", "decline", 5_000, "honest"),   # loses a tenth of it
        ("review", "approve", 2_000, "honest"),    # saves the look
        ("approve", "review", 7_000, "nothing"),   # looked at for nothing
        ("decline", "approve", 3_000, None),       # earns 300, or loses all
    ]), PLAIN)  # fmt: skip
    values = {measure: saving.value for measure, saving in found.by_measure.items()}
    assert values == {
        "disputes": 10_000, "lost_sales": -500, "reviews": 0, "total": 9_500, "frauds_let_through": 1,
        "false_declines": -1,
    }  # fmt: skip
    assert found.basis == (4, 0, 0, 1)
    total = found.by_measure["total"]
    assert (total.worst, total.best) == (-3_000, 300)
    assert found.by_measure["false_declines"][3:] == (0, 1)
    assert total.low <= 9_500 <= total.high


def test_fees_goodwill_and_what_passes_are_counted() -> None:
    costs = Costs(margin=0.1, goodwill_minor=50, chargeback_fee_minor=200, review_minor=30, review_errs=0.2,
                  challenge_abandoned=0.3, challenge_passed=0.4)  # fmt: skip

    def total(before: Action, after: Action, kind: Kind) -> float:
        return savings(moved([(before, after, 1_000, kind)]), costs).by_measure["total"].value

    assert total("approve", "challenge", "fraud") == pytest.approx(1_200 - 0.4 * 1_200)
    assert total("approve", "challenge", "honest") == pytest.approx(-0.3 * 150)
    assert total("approve", "review", "fraud") == pytest.approx(1_200 - 30 - 0.2 * 1_200)
    assert total("decline", "review", "honest") == pytest.approx(150 - 30 - 0.2 * 150)


def test_what_chance_let_through_speaks_for_what_it_declined() -> None:
    n, seen = 40, 20
    shares = np.zeros((n, 4))
    shares[:, 0], shares[:, 3] = 0.5, 0.5
    kinds = [KINDS.index("fraud" if place % 4 == 0 else "honest") if place < seen else UNKNOWN for place in range(n)]
    rows = moved([("decline", "approve", 1_000, None)] * n)._replace(
        before=shares, kinds=np.array(kinds), seen_chance=np.full(n, 0.5), is_seen=np.arange(n) < seen
    )
    found = savings(rows, PLAIN)
    # Half of each is declined no more: a quarter are frauds that cost 500 each, the others earn 50.
    assert found.by_measure["total"].value == pytest.approx(n * (0.25 * -500 + 0.75 * 50))
    assert found.by_measure["false_declines"].value == pytest.approx(n * 0.75 * 0.5)
    assert found.basis == (0, 20, 40, 0)
    assert found.by_measure["total"].low < found.by_measure["total"].value < found.by_measure["total"].high


def test_too_few_that_were_let_through_speak_for_nobody() -> None:
    n = 40
    shares = np.zeros((n, 4))
    shares[:, 0], shares[:, 3] = 0.1, 0.9
    rows = moved([("decline", "approve", 1_000, "honest")] * n)._replace(
        before=shares, seen_chance=np.full(n, 0.1), is_seen=np.arange(n) < 9
    )
    found = savings(rows, PLAIN)
    assert found.basis == (0, 0, 0, 40)
    assert found.by_measure["total"][:3] == (0, 0, 0)
    assert found.by_measure["total"].worst == pytest.approx(-40 * 900)
    assert found.by_measure["total"].best == pytest.approx(40 * 90)


def test_purchases_of_one_card_hang_together() -> None:
    rows: list[tuple[Action, Action, float, Kind | None]] = [("approve", "decline", 1_000, "fraud")] * 50
    apart = savings(moved(rows), PLAIN).by_measure["total"]
    together = savings(moved(rows, cards=[1] * 25 + [2] * 25), PLAIN).by_measure["total"]
    assert apart.value == together.value == 50_000
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    rows = moved([("approve", "decline", 1_000.0 * i, "fraud") for i in range(1, 30)])
    assert savings(rows, PLAIN, seed=3) == savings(rows, PLAIN, seed=3) != savings(rows, PLAIN, seed=4)


# ---------------------------------------------------------------------------------------------------- deciding again
PASTS = [past(f"t{i}", score=i / 300, amount_minor=1_000 + 100 * i) for i in range(300)]
UNSCORED = [past(f"u{i}", score=None, amount_minor=25_000 + 100 * i) for i in range(100)]


def test_a_policy_equal_to_the_one_in_force_makes_no_difference_at_all() -> None:
    found = compare([*PASTS, *UNSCORED], Rules(POLICY), lambda transaction: "fraud")
    assert (found.n, len(found.moved.cards)) == (400, 0)
    assert (found.before.purchases == found.after.purchases).all()
    result = savings(found.moved, Costs())
    assert {tuple(saving) for saving in result.by_measure.values()} == {(0.0,) * 5}
    assert result.basis == (0, 0, 0, 0)


def test_another_threshold_moves_what_lies_between() -> None:
    laxer = policy_with(decline=("decline = 0.60", "decline = 0.80"))
    found = compare(PASTS, Rules(laxer), nobody_knows)
    between = [each for each in PASTS if 0.6 <= (each.score or 0) < 0.8]
    assert len(found.moved.cards) == len(between)
    declined = [each for each in PASTS if each.action == "decline" or each.propensity < 1]
    expected = sum(1 - each.propensity if each.propensity < 1 else 1 for each in declined)
    assert found.before.purchases[ACTIONS.index("decline")] == pytest.approx(expected)
    fewer = found.before.purchases - found.after.purchases
    assert fewer[ACTIONS.index("challenge")] == pytest.approx(-len(between))


def test_a_rule_is_tried_before_it_is_on() -> None:
    rule = """
[[rules]]
id = "dear"
why = "Dear."
action = "challenge"
severity = "low"
owner = "test"
reason = "amount"
when = "amount_minor >= 20000"
"""
    tried = parse_policy(DEFAULT_POLICY_PATH.read_text() + rule, "test")
    found = compare(PASTS, Rules(tried), lambda transaction: "fraud" if transaction < "t2" else "honest")
    dear = [each for each in PASTS if each.purchase.amount_minor >= 20_000]
    hits = found.rules["dear"]
    assert (hits.hits, hits.hits_before, hits.fraud + hits.honest) == (len(dear), 0, len(dear))
    assert hits.amount_minor == sum(each.purchase.amount_minor for each in dear)
    assert (found.n, found.n_known) == (300, 300)


class ConstantModel:
    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        assert matrix.shape[1] == len(FEATURE_NAMES)
        return np.full(len(matrix), 0.01)


def test_another_model_scores_what_had_a_score_and_nothing_else() -> None:
    found = compare([*PASTS, *UNSCORED], Rules(POLICY, ConstantModel()), nobody_knows)
    assert found.after.purchases[ACTIONS.index("decline")] == 0
    unscored = compare(UNSCORED, Rules(POLICY, ConstantModel()), nobody_knows)
    assert len(unscored.moved.cards) == 0


def test_evidence_says_what_was_decided_and_whether_chance_played_a_part() -> None:
    evidence = evidence_for(purchase("t", now=NOW), 0)
    found = past_of(evidence)
    assert found is not None
    assert (found.action, found.score, found.is_seen, found.seen_chance) == ("approve", 0.25, True, 1.0)
    assert np.array_equal(found.features, vector(evidence.purchase, {}), equal_nan=True)  # type: ignore[arg-type]


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    laxer = policy_with(decline=("decline = 0.60", "decline = 0.80"))

    def found() -> tuple[Compared, object]:
        compared = compare(PASTS, Rules(laxer), lambda _: "honest")
        return compared, savings(compared.moved, Costs())

    whole = found()
    monkeypatch.setattr("ibook.backtest.BATCH", 7)
    parts = found()
    assert parts[1] == whole[1]
    assert parts[0].n == whole[0].n
    assert np.allclose(parts[0].after.purchases, whole[0].after.purchases)


# ------------------------------------------------------------------------------------------------------- intervals
COSTS = Costs()
SHARE = 0.1


def log_of_a_shop(rng: np.random.Generator, cards: int, *, all_seen: bool = False) -> Moved:
    """A shop that declined from a score of 0.6 on and would now do so from 0.8 on; frauds come in bursts on a card.

    Scores are a little off, as in life, and chance lets cards through, not purchases. With `all_seen` the truth of
    everything is in it.
    """
    bad = rng.random(cards) < 0.5
    card = np.repeat(np.arange(cards), np.where(bad, rng.poisson(2.0, cards), 1))
    n = len(card)
    fraud = np.where(bad[card], rng.random(n) < 0.9, rng.random(n) < 0.05)
    chances = np.zeros((n, 4))
    chances[:, 0], chances[:, 3] = SHARE, 1 - SHARE
    after = np.zeros((n, 4))
    after[:, 0] = 1.0
    seen = np.ones(n, dtype=np.bool_) if all_seen else (rng.random(cards) < SHARE)[card]
    return Moved(
        cards=card, amounts=rng.lognormal(8.5, 0.6, n), before=chances, after=after,
        kinds=np.where(seen, np.where(fraud, 0, 1), UNKNOWN), seen_chance=np.full(n, SHARE), is_seen=seen,
    )  # fmt: skip


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    whole = savings(log_of_a_shop(np.random.default_rng(0), 200_000, all_seen=True), COSTS, draws=2)
    truth = whole.by_measure["total"].value / 200_000
    cards, runs, held, widths = 1_500, 100, 0, []
    for seed in range(1, runs + 1):
        found = savings(log_of_a_shop(np.random.default_rng(seed), cards), COSTS, seed=seed, draws=150)
        total = found.by_measure["total"]
        held += total.low <= truth * cards <= total.high
        widths.append((total.high - total.low) / abs(truth * cards))
        assert found.basis.explored > 50
    assert 0.89 * runs <= held <= 0.99 * runs, held
    assert np.median(widths) < 1.0  # and say something


def test_where_the_slices_budget_was_spent_the_same_policy_makes_no_difference_either() -> None:
    unspent = past("t", score=0.9)
    spent = unspent._replace(action="decline", propensity=1.0, seen_chance=1.0, is_seen=True, exploration_closed=True)
    assert unspent.propensity == POLICY.exploration.share
    assert [len(compare([each], Rules(POLICY), nobody_knows).moved.cards) for each in (unspent, spent)] == [0, 0]
    assert len(compare([spent._replace(exploration_closed=False)], Rules(POLICY), nobody_knows).moved.cards) == 1


def test_the_evidence_tells_that_the_budget_was_spent() -> None:
    told = msgspec.structs.replace(evidence_for(purchase("t", now=NOW), 0), exploration_closed=True)
    found = past_of(told)
    assert found is not None
    assert found.exploration_closed


def test_expired_rules_are_off_at_the_time_of_the_decision() -> None:
    rule = """
[[rules]]
id = "dear_for_a_while"
why = "Dear."
action = "review"
severity = "low"
owner = "test"
reason = "amount"
expires = 2026-03-02
when = "amount_minor >= 1"
"""
    tried = parse_policy(DEFAULT_POLICY_PATH.read_text() + rule, "test")
    today, tomorrow = PASTS[0], PASTS[1]._replace(decided_at=NOW + timedelta(days=1))
    found = compare([today, tomorrow], Rules(tried), nobody_knows)
    assert found.rules["dear_for_a_while"].hits == 1
