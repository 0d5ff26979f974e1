"""The log of releases says which models run, and who decided when."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.errors import ModelUnavailable
from ibook.messages import ChallengerReleased, ModelReleased, ModelReleases, ReleaseTakenBack
from ibook.releases import GUARD, confirming, decides_for, is_on_probation, standing, taking_back, timeline

BEGAN = datetime(2026, 3, 14, 9, tzinfo=UTC)


def champion(version: str, message_id: str = "") -> ModelReleased:
    return ModelReleased(**_fields(version, message_id or f"release-{version}"))


def challenger(version: str, share: float = 0.0) -> ChallengerReleased:
    return ChallengerReleased(**_fields(version, f"beside-{version}-{share}"), share=share)


def _fields(version: str, message_id: str) -> dict[str, Any]:
    return {
        "message_id": message_id, "occurred_at": BEGAN, "model": "fraud", "version": version, "artefact": "",
        "sha256": "0" * 64, "feature_names_hash": "", "released_by": "mira", "why": f"why {version}",
    }  # fmt: skip


def back(release: ModelReleased | ChallengerReleased, by: str = "mira", why: str = "worse") -> ReleaseTakenBack:
    return taking_back(release, by, why, BEGAN)


def at_minutes(log: Sequence[ModelReleases]) -> list[tuple[datetime, ModelReleases]]:
    return [(BEGAN + timedelta(minutes=minute), message) for minute, message in enumerate(log)]


RELEASES = st.one_of(
    st.builds(champion, st.sampled_from("abc"), st.sampled_from(["1", "2", "3", "4"])),
    st.builds(challenger, st.sampled_from("abc"), st.sampled_from([0.0, 0.1])),
)
LOGS = st.lists(st.one_of(RELEASES, RELEASES.map(back)), max_size=12)


# ------------------------------------------------------------------------------------------------------------- standing
def test_what_was_taken_back_gives_way_to_what_counted_before_it() -> None:
    a, b, c = champion("a"), champion("b"), champion("c")
    assert standing([a, b, c, back(c)]).champions == (b, a)
    assert standing([a, b, c, back(c), back(b)]).champions == (a,)
    assert standing([a, b, back(b), c]).champions == (c, a)


@given(log=LOGS, again=st.integers(0, 11))
def test_taking_back_twice_or_late_changes_nothing_more(log: list[ModelReleases], again: int) -> None:
    taken = [each for each in log if isinstance(each, ReleaseTakenBack)]
    repeated = [*log, taken[again % len(taken)]] if taken else log
    assert standing(repeated) == standing(log)


@given(log=LOGS)
def test_a_process_that_took_a_release_back_by_itself_agrees_with_the_log_that_says_so(
    log: list[ModelReleases],
) -> None:
    said = [each for each in log if not isinstance(each, ReleaseTakenBack)]
    known = {each.release_id for each in log if isinstance(each, ReleaseTakenBack)}
    assert standing(said, known) == standing(log)


def test_a_challenger_that_became_champion_is_no_challenger_any_more() -> None:
    shadow, promoted = challenger("b"), champion("b")
    assert standing([champion("a"), shadow]).challenger == shadow
    assert standing([champion("a"), shadow, promoted]).challenger is None
    assert standing([champion("a"), shadow, promoted, back(promoted)]).challenger is None


def test_a_challenger_that_is_withdrawn_is_followed_by_none() -> None:
    first, second = challenger("b"), challenger("c", 0.1)
    assert standing([first, second]).challenger == second
    assert standing([first, second, back(second)]).challenger is None


def test_only_what_never_decided_with_lasting_success_is_on_probation() -> None:
    a, b, again = champion("a"), champion("b"), champion("a", "again")
    assert is_on_probation([a, b], b)
    assert not is_on_probation([a, b, again], again)
    assert is_on_probation([a, back(a), again], again), "it was taken back when it decided last"


def test_a_champion_is_on_probation_until_anybody_confirms_it_and_no_longer() -> None:
    a, b, again = champion("a"), champion("b"), champion("b", "again")
    confirmed = confirming(b, GUARD, "fine", BEGAN)
    assert is_on_probation([a, b, again], again), "saying it twice proves nothing"
    assert not is_on_probation([a, b, confirmed], b)
    assert not is_on_probation([a, b, confirmed, again], again)
    assert is_on_probation([a, b, confirmed, back(b), again], again), "it was found good, and then it wasn't"


def test_what_a_person_rolled_back_to_is_not_on_probation_and_what_a_guard_went_back_to_still_is() -> None:
    log = [champion("a"), champion("b"), champion("c")]
    assert not is_on_probation([*log, back(log[2])], log[1])
    assert is_on_probation([*log, back(log[2], GUARD)], log[1])


@given(log=LOGS, place=st.integers(0, 11))
def test_a_confirmation_changes_neither_what_counts_nor_the_timeline(log: list[ModelReleases], place: int) -> None:
    confirmed = [confirming(each, GUARD, "fine", BEGAN) for each in log if isinstance(each, ModelReleased)]
    if confirmed:
        with_it = [*log, confirmed[place % len(confirmed)]]
        assert standing(with_it) == standing(log)
        assert timeline(at_minutes(with_it)) == timeline(at_minutes(log))


# --------------------------------------------------------------------------------------------------------------- canary
@given(card=st.text(min_size=1), small=st.floats(0, 1), large=st.floats(0, 1), seed=st.integers(0, 9))
def test_a_larger_share_keeps_the_cards_of_a_smaller_one(card: str, small: float, large: float, seed: int) -> None:
    small, large = sorted((small, large))
    assert decides_for(small, card, seed) <= decides_for(large, card, seed)
    assert not decides_for(0.0, card, seed)
    assert decides_for(1.0, card, seed)


def test_the_challenger_decides_for_about_its_share_of_the_cards() -> None:
    assert 0.08 < sum(decides_for(0.1, f"card-{i}", 0) for i in range(5000)) / 5000 < 0.12


# ------------------------------------------------------------------------------------------------------------- timeline
def test_the_timeline_says_what_decided_until_when_and_marks_the_rollback() -> None:
    b = champion("b")
    spans = timeline(at_minutes([champion("a"), b, back(b, "guard", "score shift 0.6")]))
    assert [(span.version, span.since.minute, span.until and span.until.minute) for span in spans] == [
        ("a", 0, 1), ("b", 1, 2), ("a", 2, None),
    ]  # fmt: skip
    assert [(span.by, span.why, span.rollback_from) for span in spans[1:]] == [
        ("mira", "why b", ""), ("guard", "score shift 0.6", "b"),
    ]  # fmt: skip
    assert spans[1].ended == "guard: score shift 0.6"


def test_an_older_version_released_again_is_a_rollback_too() -> None:
    spans = timeline(at_minutes([champion("a"), champion("b"), champion("a", "again")]))
    assert [span.rollback_from for span in spans] == ["", "", "b"]


def test_a_canary_that_grows_has_a_span_for_each_share() -> None:
    spans = timeline(at_minutes([champion("a"), challenger("b"), challenger("b", 0.1), champion("b")]))
    beside = [(span.share, span.since.minute, span.until and span.until.minute) for span in spans if span.share < 1]
    assert beside == [(0.0, 1, 2), (0.1, 2, 3)]


@given(log=LOGS)
def test_at_any_time_one_champion_at_most_decides(log: list[ModelReleases]) -> None:
    spans = [span for span in timeline(at_minutes(log)) if span.role == "champion"]
    assert all(span.until is not None for span in spans[:-1])
    assert all(before.until <= after.since for before, after in pairwise(spans) if before.until)
    assert all(before.version != after.version or before.until != after.since
               for before, after in pairwise(spans))  # fmt: skip
    standing_now = standing(log).champions
    assert (bool(spans) and spans[-1].until is None) == bool(standing_now)


# ------------------------------------------------------------------------------------------------------------- rollback
def test_a_rollback_takes_back_the_deciding_version_and_what_was_refused_after_it() -> None:
    from ibook.edges.releasing import rolling_back

    log = at_minutes([champion("a"), champion("b"), champion("b", "b again"), champion("refused")])
    messages, target = rolling_back(log, "b", by="mira", why="worse")
    assert target.version == "a"
    assert standing([*(message for _, message in log), *messages]).champions == (target,)


def test_nothing_can_be_rolled_back_to_before_the_first_release() -> None:
    from ibook.edges.releasing import rolling_back

    with pytest.raises(ModelUnavailable, match="No other version"):
        rolling_back(at_minutes([champion("a")]), "a", by="mira", why="worse")
