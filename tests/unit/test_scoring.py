"""What a batch's verdicts and evidence say of the models that scored it, and in which posture it was decided."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from ibook.clock import ManualClock, to_us
from ibook.edges.champion import Champion
from ibook.edges.feature_reader import Reading
from ibook.edges.fraud_model import FraudModel
from ibook.edges.policy_in_force import PolicyInForce
from ibook.edges.scoring import Asked, Batch, Scorer
from ibook.heartbeat import Heartbeat
from ibook.messages import FraudVerdict, ModelReleases, PolicyTakenBack, VerdictEvidence
from ibook.own_purchases import OwnPurchases
from ibook.policy_releases import released as policy_released
from ibook.releases import decides_for
from ibook.rules import DEFAULT_POLICY_PATH, load_policy
from ibook.settings import Settings
from ibook.verdicts import evidence_of, verdict_of
from tests.tiny_models import OTHER, TRAINED, beside, released, suspicious, write
from tests.traffic import purchase

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
CARDS = 40


@pytest.fixture
def champion(tmp_path: Path) -> Champion:
    for trained in (TRAINED, OTHER):
        write(tmp_path, trained)
    return Champion(tmp_path, "fraud")


def decided(
    champion: Champion, *releases: ModelReleases, beat_seconds_ago: float | None = 0.1
) -> list[tuple[FraudVerdict, VerdictEvidence]]:
    """Verdict and evidence of a purchase by each of some cards; without a heartbeat the store did not answer."""
    champion.apply(releases)
    scorer = Scorer(Settings(), champion, PolicyInForce(), ManualClock(NOW))
    batch = scorer.decide([_asked(i) for i in range(CARDS)], _reading(beat_seconds_ago), OwnPurchases())
    return _told(batch)


def _asked(number: int) -> Asked:
    bought = purchase(f"t-{number}", now=NOW, key=str(number), amount_minor=500 * (number % CARDS))
    return Asked.of(bought, ("ticket-purchases", 0, number))


def _reading(beat_seconds_ago: float | None) -> Reading | None:
    if beat_seconds_ago is None:
        return None
    return Reading({}, [Heartbeat(to_us(NOW - timedelta(seconds=beat_seconds_ago)), {}, 1)])


def _told(batch: Batch) -> list[tuple[FraudVerdict, VerdictEvidence]]:
    return [(verdict_of(each, batch.about), evidence_of(each, batch.about)) for each in batch.scored]


def test_a_shadow_is_in_the_evidence_and_changes_no_verdict(champion: Champion) -> None:
    alone = decided(champion, released(TRAINED))
    shadowed = decided(champion, beside(OTHER))
    assert [verdict for verdict, _ in shadowed] == [verdict for verdict, _ in alone]
    for (_, before), (_, evidence) in zip(alone, shadowed, strict=True):
        assert (evidence.score, evidence.model_version) == (before.score, TRAINED.model.version)
        assert evidence.challenger_version == OTHER.model.version
        assert evidence.challenger_score is not None
        assert evidence.champion_score is None
        assert (before.challenger_version, before.challenger_score) == ("", None)
    assert any(evidence.score != evidence.challenger_score for _, evidence in shadowed)


def test_a_canary_is_named_in_verdict_and_evidence_of_its_cards_beside_the_champions_score(champion: Champion) -> None:
    alone = decided(champion, released(TRAINED))
    found = decided(champion, beside(OTHER, share=0.5))
    by_canary = [decides_for(0.5, evidence.purchase.card_id, 0) for _, evidence in found if evidence.purchase]
    assert 0 < sum(by_canary) < CARDS
    for is_canary, (_, before), (verdict, evidence) in zip(by_canary, alone, found, strict=True):
        decider = OTHER if is_canary else TRAINED
        assert verdict.model_version == evidence.model_version == decider.model.version
        assert evidence.score == (evidence.challenger_score if is_canary else before.score)
        assert evidence.champion_score == (before.score if is_canary else None)


@pytest.mark.parametrize(
    ("beat_seconds_ago", "posture"), [(0.1, "normal"), (60.0, "stale_features"), (None, "no_features")]
)
def test_the_posture_follows_the_store_and_is_shown(
    champion: Champion, beat_seconds_ago: float | None, posture: str
) -> None:
    found = decided(champion, released(TRAINED), beat_seconds_ago=beat_seconds_ago)
    assert {verdict.posture for verdict, _ in found} == {posture}
    assert {verdict.model_version for verdict, _ in found} == (
        {"none"} if posture == "no_features" else {TRAINED.model.version}
    )
    shown = {
        each: REGISTRY.get_sample_value("ibook_posture", {"posture": each})
        for each in ("normal", "stale_features", "no_features", "rules_only")
    }
    assert [name for name, value in shown.items() if value] == [posture]


def test_a_model_that_can_not_score_leaves_the_batch_to_the_rules(
    champion: Champion, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion.apply([released(TRAINED)])
    monkeypatch.setattr(FraudModel, "score", lambda *_: 1 / 0)
    found = decided(champion)
    assert {(verdict.posture, verdict.model_version, verdict.score_band) for verdict, _ in found} == {
        ("rules_only", "none", "not_scored")
    }


def test_a_model_that_can_not_explain_itself_still_decides(champion: Champion, monkeypatch: pytest.MonkeyPatch) -> None:
    explained = decided(champion, released(TRAINED))
    monkeypatch.setattr(FraudModel, "contributions", lambda *_: 1 / 0)
    assert [verdict for verdict, _ in decided(champion)] == [verdict for verdict, _ in explained]


DECLINES_ALL = """
[[rules]]
id = "nobody"
why = "Somebody mistook a greater for a smaller."
action = "decline"
severity = "critical"
owner = "fraud desk"
reason = "listed"
when = "amount_minor >= 0"
"""
PACKAGED = DEFAULT_POLICY_PATH.read_text()


def guarded_policy(text: str) -> PolicyInForce:
    following = PolicyInForce()
    following.apply([policy_released(text, "test", message_id="new", at=NOW)])
    return following


def decide_batches(champion: Champion, policies: PolicyInForce, gap: float, *, is_asked: bool = False) -> list[str]:
    """Versions of the policies that decide some batches of 40 purchases."""
    settings = Settings(guard_purchases=200, guard_min_purchases=80, guard_policy_gap=gap)
    scorer = Scorer(settings, champion, policies, ManualClock(NOW), is_asked=is_asked)
    asked = [
        Asked.of(purchase(f"t-{i}", now=NOW, key=str(i), amount_minor=500 * i), ("ticket-purchases", 0, i))
        for i in range(CARDS)
    ]
    return [scorer.decide(asked, _reading(0.1), OwnPurchases()).about.policy_version for _ in range(6)]


@pytest.mark.parametrize("models", [[released(TRAINED)], []], ids=["with a model", "by rules alone"])
def test_a_new_policy_that_approves_nobody_gives_way_to_the_one_before_it(
    champion: Champion, models: list[ModelReleases]
) -> None:
    champion.apply(models)
    policies = guarded_policy(PACKAGED + DECLINES_ALL)
    bad, packaged = policies.policy.version, load_policy().version
    assert decide_batches(champion, policies, 0.2) == [bad] * 2 + [packaged] * 4
    (told,) = policies._untold
    assert isinstance(told, PolicyTakenBack)
    assert re.fullmatch(r"approvals changed by -\d+.\d%, at most 20.0% is allowed over 80 purchases", told.why)


def test_a_policy_guard_may_be_off_and_listens_to_nobody_who_asks(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    for gap, is_asked in ((0.0, False), (0.2, True)):
        policies = guarded_policy(PACKAGED + DECLINES_ALL)
        assert decide_batches(champion, policies, gap, is_asked=is_asked) == [policies.policy.version] * 6


def test_a_new_policy_that_changes_little_is_confirmed_after_the_window(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    policies = guarded_policy(PACKAGED.replace("[[rules]]", "# a comment\n[[rules]]", 1))
    compared = policies.in_force.former
    assert decide_batches(champion, policies, 0.2) == [policies.policy.version] * 6
    assert policies.policy.version != load_policy().version
    assert (compared is None, policies.in_force.former) == (False, None)
    (told,) = policies._untold
    assert told.why == "its approvals stayed within their bound over 200 purchases"


def test_a_batch_of_which_nothing_is_left_is_in_the_posture_of_the_moment(champion: Champion) -> None:
    champion.apply([released(TRAINED)])
    scorer = Scorer(Settings(), champion, PolicyInForce(), ManualClock(NOW))
    batch = scorer.decide([], _reading(0.1), OwnPurchases())
    assert (batch.about.posture, batch.scored) == ("normal", [])


@pytest.mark.parametrize("is_asked", [False, True])
def test_who_only_asks_has_no_say_in_which_model_stays(champion: Champion, tmp_path: Path, is_asked: bool) -> None:
    write(tmp_path, suspicious(TRAINED))
    champion.apply([released(TRAINED)])
    champion.apply([released(suspicious(TRAINED))])
    settings = Settings(guard_purchases=100, guard_min_purchases=50, beside_seconds=5)
    scorer = Scorer(settings, champion, PolicyInForce(), ManualClock(NOW), is_asked=is_asked)
    for batch in range(30):
        scorer.decide([_asked(CARDS * batch + card) for card in range(CARDS)], _reading(0.1), OwnPurchases())
    assert champion.model is not None
    assert champion.model.version == ("suspicious" if is_asked else TRAINED.model.version)
