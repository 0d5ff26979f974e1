"""A purchase's story: what each chapter says, and which features come first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.explain_report import print_story
from ibook.features import FEATURE_NAMES
from ibook.messages import FraudVerdict, ReasonCode, StatePosition, VerdictEvidence
from ibook.story import Missing, Place, Story, chapter_of_evidence, chapter_of_purchase, chapter_of_verdict, why_of
from tests.evidence import evidence_for
from tests.traffic import purchase

NOW = datetime(2026, 3, 14, 19, 30, tzinfo=UTC)
BOUGHT = purchase("t-1", now=NOW)
PLACE = Place("ticket-purchases", 1, 31, NOW)


def evidence(**changes: Any) -> VerdictEvidence:
    return msgspec.structs.replace(evidence_for(BOUGHT, 31), **changes)


def verdict(action: Any) -> FraudVerdict:
    return FraudVerdict(
        message_id="v", occurred_at=NOW, transaction_id="t-1", action=action, score_band="low", posture="normal",
        model_version="1",
    )  # fmt: skip


def test_a_purchase_is_told_with_its_amount_and_where_it_lies() -> None:
    chapter = chapter_of_purchase(PLACE, BOUGHT, again=False)
    assert chapter.where == "ticket-purchases:1:31"
    assert chapter.sentence == "Purchase: 2 × standard of event-1 for 50.00 EUR, by user-1 with card-1."
    assert chapter.message["bin"] == BOUGHT.bin


def test_a_verdict_says_how_long_the_shop_waited() -> None:
    first, place = verdict("decline"), Place("fraud-verdicts", 1, 0, NOW + timedelta(milliseconds=12))
    assert chapter_of_verdict(place, first, first, NOW).sentence.endswith(", 12 ms after the purchase.")
    again = chapter_of_verdict(place, verdict("decline"), first, NOW)
    assert (again.what, again.sentence) == (
        "verdict again", "A second verdict, decline: it says the same, and does not count.",
    )  # fmt: skip
    assert chapter_of_verdict(place, verdict("approve"), first, NOW).what == "verdict conflict"


def test_evidence_from_the_archive_is_told_at_its_own_time() -> None:
    told = evidence(score=None, threshold=None, posture="no_features", rules=["large"])
    chapter = chapter_of_evidence(Place("fraud-evidence", 1, 3, None), told)
    assert chapter.at == told.occurred_at
    assert "no score" in chapter.sentence
    assert "rules large" in chapter.sentence


@given(st.lists(st.floats(-3, 3), min_size=len(FEATURE_NAMES), max_size=len(FEATURE_NAMES)))
def test_every_feature_is_told_once_those_that_moved_the_score_first(weights: list[float]) -> None:
    why = why_of(evidence(), np.array(weights))
    assert sorted(each.feature for each in why.features) == sorted(FEATURE_NAMES)
    moved = [abs(each.contribution or 0.0) for each in why.features]
    assert moved == sorted(moved, reverse=True)
    assert {each.feature: each.contribution for each in why.features} == dict(zip(FEATURE_NAMES, weights, strict=True))


def test_without_the_model_features_with_a_value_come_first() -> None:
    why = why_of(evidence(), None)
    missing = [each.value is None for each in why.features]
    assert missing == sorted(missing)
    assert {each.contribution for each in why.features} == {None}


def test_features_of_another_declaration_are_not_given_names_they_did_not_have() -> None:
    why = why_of(evidence(feature_names_hash="another", features=[1.0, None]), np.zeros(len(FEATURE_NAMES)))
    assert [(each.feature, each.contribution) for each in why.features] == [("#0", None), ("#1", None)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"challenger_version": "9", "challenger_score": None}, "9 said nothing"),
        ({"challenger_version": "9", "challenger_score": 0.5}, "9 said 0.5000"),
        ({"challenger_version": "9", "challenger_score": 0.5, "champion_score": 0.25},
         "9 said 0.5000, and decided; the champion said 0.2500"),
    ],
)  # fmt: skip
def test_what_a_second_model_said_is_told(changes: dict[str, Any], told: str) -> None:
    assert why_of(evidence(**changes), None).challenger == told


def test_a_story_is_printed_whole_and_without_anything_that_a_terminal_would_obey(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = msgspec.structs.replace(BOUGHT, user_id="\x1b[2J")
    told = evidence(
        action="decline", rules=["card_testing"], reasons=[ReasonCode(code="card_attempts", contribution=1.5)],
        states=[StatePosition(entity="card", key="card\x1b[0m", updates_partition=2, updates_offset=7)],
    )  # fmt: skip
    story = Story(
        transaction_id="t-\x1b1", chapters=[chapter_of_purchase(PLACE, hostile, again=False)],
        why=why_of(told, None), model={}, policy={},
        missing=[Missing(what="verdict", looked="fraud-verdicts since then")],
    )  # fmt: skip
    print_story(story, 3)
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    for part in ("ticket-purchases:1:31", "Why decline", "rule card_testing", "(+1.500)", "entity-updates:2:7",
                 f"… {len(FEATURE_NAMES) - 3} more", "verdict: looked at fraud-verdicts since then"):  # fmt: skip
        assert part in printed, part
