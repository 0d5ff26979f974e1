"""Each purchase is decided by one model, and no other can harm it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from ibook.edges.aside import Aside
from ibook.edges.champion import Champion
from ibook.edges.fraud_model import FraudModel
from ibook.edges.model_scores import ModelScorer
from ibook.guards import MIN_BATCHES
from ibook.messages import ModelReleases, ReleaseConfirmed, ReleaseTakenBack
from ibook.releases import decides_for
from ibook.settings import Settings
from tests.tiny_models import OTHER, TEST, TRAINED, beside, released, write

ROWS = np.ascontiguousarray(TEST.features[:64])
CARDS = [f"card-{i}" for i in range(64)]


@pytest.fixture
def champion(tmp_path) -> Champion:  # type: ignore[no-untyped-def]
    """Champions of a store with two models; nothing is released yet."""
    for trained in (TRAINED, OTHER):
        write(tmp_path, trained)
    return Champion(tmp_path, "fraud")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What models do instead of scoring, by version: raise an error, wait for an event, or give these scores."""
    instead: dict[str, object] = {}
    score = FraudModel.score

    def scored(self: FraudModel, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        what = instead.get(self.version)
        if isinstance(what, Exception):
            raise what
        if isinstance(what, threading.Event):
            what.wait(120)
        return what if isinstance(what, np.ndarray) else score(self, matrix)

    monkeypatch.setattr(FraudModel, "score", scored)
    yield instead
    for what in instead.values():
        if isinstance(what, threading.Event):
            what.set()


@pytest.fixture(params=["one by one", "at once"])
def following(request: pytest.FixtureRequest, champion: Champion) -> Callable[..., ModelScorer]:
    """A scorer in a process that has seen the releases come, and in one that was started after them."""

    def follow(*releases: ModelReleases) -> ModelScorer:
        if request.param == "at once":
            champion.apply(releases)
            return scorer(champion, [])
        return scorer(champion, releases)

    return follow


def scorer(champion: Champion, releases: Sequence[ModelReleases], **settings: float) -> ModelScorer:
    for release in releases:
        champion.apply([release])
    usual = {"guard_purchases": 640, "guard_min_purchases": 64, "beside_seconds": 60.0}
    return ModelScorer(champion, Settings(**{**usual, **settings}))  # type: ignore[arg-type]


def few_approved(scores: NDArray[np.float64]) -> int:
    return int((scores < 0.3).sum())


def versions(models: Sequence[FraudModel]) -> set[str]:
    return {model.version for model in models}


def test_a_shadow_scores_the_same_rows_and_decides_none(champion: Champion) -> None:
    said = scorer(champion, [released(TRAINED), beside(OTHER)]).score(ROWS, CARDS)
    assert versions(said.deciding) == {TRAINED.model.version}
    assert said.scores == TRAINED.model.score(ROWS).tolist()
    assert said.challenger.scores is not None
    assert said.challenger.scores.tolist() == OTHER.model.score(ROWS).tolist()


def test_a_canary_decides_for_its_cards_and_for_no_others(champion: Champion) -> None:
    said = scorer(champion, [released(TRAINED), beside(OTHER, share=0.3)]).score(ROWS, CARDS)
    expected = [OTHER if decides_for(0.3, card, 0) else TRAINED for card in CARDS]
    assert [model.version for model in said.deciding] == [each.model.version for each in expected]
    by_both = {each.model.version: each.model.score(ROWS) for each in (TRAINED, OTHER)}
    assert said.scores == [by_both[model.version][row] for row, model in enumerate(said.deciding)]
    assert len(versions(said.deciding)) == 2


@pytest.mark.parametrize(
    "what", [ZeroDivisionError("a bug"), np.full(64, np.nan), np.zeros(3)], ids=["raises", "no numbers", "too few"]
)
def test_a_canary_that_fails_leaves_its_cards_to_the_champion(
    champion: Champion, broken: dict[str, object], what: object
) -> None:
    scoring = scorer(champion, [released(TRAINED), beside(OTHER, share=1.0)])
    broken[OTHER.model.version] = what
    said = scoring.score(ROWS, CARDS)
    assert versions(said.deciding) == {TRAINED.model.version}
    assert said.challenger.failed


def test_a_slow_challenger_is_not_waited_for_and_then_left_alone(champion: Champion, broken: dict[str, object]) -> None:
    scoring = scorer(champion, [released(TRAINED), beside(OTHER, share=1.0)], beside_seconds=0.05)
    broken[OTHER.model.version] = threading.Event()
    late, left_alone = scoring.score(ROWS, CARDS), scoring.score(ROWS, CARDS)
    assert late.challenger.failed
    assert (left_alone.challenger.failed, left_alone.challenger.scores) == (False, None), "not even asked"
    assert versions([*late.deciding, *left_alone.deciding]) == {TRAINED.model.version}


def test_a_champion_that_fails_leaves_the_batch_to_the_former_one(
    following: Callable[..., ModelScorer], broken: dict[str, object]
) -> None:
    scoring = following(released(TRAINED), released(OTHER))
    broken[OTHER.model.version] = ZeroDivisionError("a bug")
    assert versions(scoring.score(ROWS, CARDS).deciding) == {TRAINED.model.version}


def test_without_any_model_that_scores_nothing_is_scored(champion: Champion, broken: dict[str, object]) -> None:
    assert scorer(champion, []).score(ROWS, CARDS).scores == []
    scoring = scorer(champion, [released(TRAINED)])
    broken[TRAINED.model.version] = ZeroDivisionError("a bug")
    assert scoring.score(ROWS, CARDS).scores == []


def test_a_batch_without_purchases_asks_nobody(champion: Champion) -> None:
    said = scorer(champion, [released(TRAINED), released(OTHER), beside(TRAINED)]).score(ROWS[:0], [])
    assert (said.scores, said.champion.failed, said.former.failed) == ([], False, False)


# ------------------------------------------------------------------------------------------------------------- guards
def deciding(champion: Champion) -> str | None:
    return champion.model.version if champion.model else None


def has_challenger(champion: Champion) -> bool:
    return champion.running.challenger is not None


def watch(scoring: ModelScorer, batches: int) -> None:
    for _ in range(batches):
        scoring.watch(scoring.score(ROWS, CARDS), few_approved)


def test_a_new_champion_that_approves_nobody_gives_way_to_the_former_one(
    champion: Champion, following: Callable[..., ModelScorer], broken: dict[str, object]
) -> None:
    scoring = following(released(TRAINED), released(OTHER))
    broken[OTHER.model.version] = np.full(64, 0.9)
    watch(scoring, 1)
    assert versions(scoring.score(ROWS, CARDS).deciding) == {TRAINED.model.version}
    (told,) = champion._untold
    assert isinstance(told, ReleaseTakenBack)
    lost = few_approved(TRAINED.model.score(ROWS)) / 64
    assert told.why == f"approvals changed by -{lost:.1%}, at most 5.0% is allowed over 64 purchases"


def test_a_new_champion_that_fails_gives_way_to_the_former_one(
    champion: Champion, following: Callable[..., ModelScorer], broken: dict[str, object]
) -> None:
    scoring = following(released(TRAINED), released(OTHER))
    broken[OTHER.model.version] = ZeroDivisionError("a bug")
    watch(scoring, MIN_BATCHES)
    assert deciding(champion) == TRAINED.model.version
    assert len(champion._untold) == 1


@pytest.mark.parametrize(("seconds", "former_decides"), [(0.04, False), (0.06, True)])
def test_a_new_champion_that_takes_too_long_decides_all_the_same_and_gives_way_to_the_former_one(
    champion: Champion, seconds: float, *, former_decides: bool
) -> None:
    for release in (released(TRAINED), released(OTHER)):
        champion.apply([release])
    slow = ModelScorer(champion, Settings(beside_seconds=0.05), timer=count(step=seconds).__next__)
    said = slow.score(ROWS, CARDS)
    assert (versions(said.deciding), said.champion.is_late) == ({OTHER.model.version}, former_decides)
    watch(slow, MIN_BATCHES)
    assert (deciding(champion) == TRAINED.model.version) is former_decides


def test_a_new_champion_that_does_well_has_proved_itself_after_the_window(
    champion: Champion, following: Callable[..., ModelScorer], broken: dict[str, object]
) -> None:
    scoring = following(released(TRAINED), released(OTHER))
    broken[OTHER.model.version] = TRAINED.model.score(ROWS)
    watch(scoring, 9)
    before = champion.running.former
    watch(scoring, 1)
    assert (before is None, champion.running.former) == (False, None)
    assert deciding(champion) == OTHER.model.version
    (told,) = champion._untold
    assert isinstance(told, ReleaseConfirmed), "which ends the probation in every other process, too"
    assert told.why == "its figures stayed within their bounds over 640 purchases"


def test_a_canary_that_breaks_a_bound_is_taken_back_and_a_shadow_only_when_it_fails(
    champion: Champion, broken: dict[str, object]
) -> None:
    scoring = scorer(champion, [released(TRAINED), beside(OTHER)])
    broken[OTHER.model.version] = np.full(64, 0.9)
    watch(scoring, 2)
    assert has_challenger(champion), "a shadow harms nobody"
    champion.apply([beside(OTHER, share=0.01)])
    watch(scoring, 1)
    assert not has_challenger(champion)
    champion.apply([beside(OTHER)])
    broken[OTHER.model.version] = ZeroDivisionError("a bug")
    watch(scoring, MIN_BATCHES)
    assert not has_challenger(champion)


def test_a_release_that_asked_for_no_guard_is_left_alone(champion: Champion, broken: dict[str, object]) -> None:
    from msgspec.structs import replace

    scoring = scorer(champion, [released(TRAINED), replace(beside(OTHER, share=1.0), guarded=False)])
    broken[OTHER.model.version] = np.full(64, 0.9)
    watch(scoring, 3)
    assert champion.running.challenger is not None


def test_work_aside_is_begun_again_once_the_late_one_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ibook.edges.aside.PAUSE_SECONDS", 0.0)
    go_on, aside = threading.Event(), Aside[bool]("test", 0.01)
    begun = aside.begin(lambda: go_on.wait(120))
    assert begun is not None
    with pytest.raises(TimeoutError):
        aside.result(begun)
    assert aside.begin(lambda: True) is None
    go_on.set()
    assert begun.result(120)
    again = aside.begin(lambda: True)
    assert again is not None
    assert again.result(120)


def test_a_guard_that_fails_keeps_nobody_from_an_answer(champion: Champion) -> None:
    scoring = scorer(champion, [released(TRAINED), released(OTHER)])
    scoring.watch(scoring.score(ROWS, CARDS), lambda scores: 1 // 0)
    assert deciding(champion) == OTHER.model.version
