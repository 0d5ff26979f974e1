"""A log of model releases -> which model decides, which scores beside it, and who decided when: pure.

The champion is the newest release that nobody took back, so taking one back is the rollback, and saying it twice, or
late, changes nothing more. The challenger is the newest one released beside it, unless it was taken back or has become
champion.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import dropwhile
from typing import Literal, NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from ibook.fraud import draw_of
from ibook.messages import (
    ChallengerReleased,
    ModelReleased,
    ModelReleases,
    Release,
    ReleaseConfirmed,
    ReleaseTakenBack,
)

GUARD = "guard"
"""Who takes back a release whose guard figures broke, and confirms one whose figures did not."""


class Standing(NamedTuple):
    """What counts after a log of releases."""

    champions: tuple[ModelReleased, ...] = ()
    """Newest first; the first that can be loaded decides."""
    challenger: ChallengerReleased | None = None


def standing(log: Iterable[ModelReleases], taken_back: Collection[str] = ()) -> Standing:
    """What counts after a log of one model; `taken_back` are message ids of releases that count no more, either."""
    log = list(log)
    gone = {each.release_id for each in log if isinstance(each, ReleaseTakenBack)} | set(taken_back)
    champions = tuple(each for each in reversed(log) if isinstance(each, ModelReleased) and each.message_id not in gone)
    return Standing(champions, _challenger(log, gone))


def _challenger(log: Sequence[ModelReleases], gone: Collection[str]) -> ChallengerReleased | None:
    promoted: set[str] = set()
    for each in reversed(log):
        if isinstance(each, ChallengerReleased):
            return None if each.message_id in gone or each.version in promoted else each
        if isinstance(each, ModelReleased):
            promoted.add(each.version)
    return None


def is_on_probation(log: Sequence[ModelReleases], release: Release) -> bool:
    """Whether a champion has yet to prove itself: guarded, not confirmed, and not what one rolled back to.

    That is a version that decided before another one did and was never taken back, or one above which a person took
    the releases back: a guard must not undo that.
    """
    confirmed = {each.release_id for each in log if isinstance(each, ReleaseConfirmed)}
    proved = has_proved_itself(release, standing(log).champions, confirmed)
    return release.guarded and not proved and not _is_chosen_again(log, release)


class Named(Protocol):
    """A release of whatever kind."""

    @property
    def message_id(self) -> str:
        """Names the release."""
        ...

    @property
    def version(self) -> str:
        """Names what was released."""
        ...


def has_proved_itself(release: Named, counting: Sequence[Named], confirmed: Collection[str]) -> bool:
    """Whether its version was confirmed, or decided before another one did; `counting` are releases, newest first."""
    proved = {each.version for each in counting if each.message_id in confirmed}
    not_newer = dropwhile(lambda each: each.message_id != release.message_id, counting)
    replaced = {each.version for each in dropwhile(lambda each: each.version == release.version, not_newer)}
    return release.version in proved | replaced


def _is_chosen_again(log: Sequence[ModelReleases], release: Release) -> bool:
    """Whether a person took back what was released after it."""
    by_people = {each.release_id for each in log if isinstance(each, ReleaseTakenBack) and each.released_by != GUARD}
    later = dropwhile(lambda each: each != release, log)
    return any(isinstance(each, ModelReleased) and each.message_id in by_people for each in later)


def share_of(release: Release) -> float:
    """Of the cards it decides for: 1 for a champion, 0 for a shadow."""
    return release.share if isinstance(release, ChallengerReleased) else 1.0


def decides_for(share: float, card_id: str, seed: int) -> bool:
    """Whether the challenger decides for this card: by a stable hash, so that a larger share keeps its cards."""
    return share > 0 and draw_of(f"canary:{card_id}", seed) < share


def taking_back(release: Release, by: str, why: str, now: datetime) -> ReleaseTakenBack:
    """The message that takes a release back; its id is the same whoever says so."""
    return ReleaseTakenBack(
        message_id=f"taken-back-{release.message_id}"[:128], occurred_at=now, model=release.model,
        release_id=release.message_id, released_by=by, why=why,
    )  # fmt: skip


def confirming(release: Release, by: str, why: str, now: datetime) -> ReleaseConfirmed:
    """The message that ends a release's probation; its id is the same whoever says so."""
    return ReleaseConfirmed(
        message_id=f"confirmed-{release.message_id}"[:128], occurred_at=now, model=release.model,
        release_id=release.message_id, released_by=by, why=why,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ timeline
class Span(Struct, frozen=True, kw_only=True):
    """A time in which a version was to decide, or to score beside the champion."""

    role: Literal["champion", "challenger"]
    version: str
    share: float
    """Of the cards it decided for; 1 for a champion."""
    since: datetime
    until: datetime | None
    """None while it lasts."""
    by: str
    why: str
    rollback_from: str = ""
    """The version that was rolled back when this one began; empty for a step forward."""
    ended: str = ""
    """Who took it back and why; empty when it was replaced or lasts."""


def timeline(log: Sequence[tuple[datetime, ModelReleases]]) -> list[Span]:
    """Spans in the order in which they began, of (broker time, message) of one model."""
    spans: list[Span] = []
    for count, (at, cause) in enumerate(log, start=1):
        found = standing(message for _, message in log[:count])
        champion = found.champions[0] if found.champions else None
        _step(spans, "champion", champion, at, cause)
        _step(spans, "challenger", found.challenger, at, cause)
    return spans


def _step(
    spans: list[Span], role: Literal["champion", "challenger"], now: Release | None, at: datetime, cause: ModelReleases
) -> None:
    """Close the open span of a role when another version or share counts now, and begin its own."""
    place = next((i for i in reversed(range(len(spans))) if spans[i].role == role and spans[i].until is None), None)
    before = spans[place] if place is not None else None
    share = share_of(now) if now else 0.0
    if (before.version, before.share) == (now.version, share) if before and now else not before and not now:
        return
    taken_back = isinstance(cause, ReleaseTakenBack)
    if place is not None and before is not None:
        spans[place] = replace(before, until=at, ended=f"{cause.released_by}: {cause.why}" if taken_back else "")
    if now is not None:
        decided = {span.version for span in spans if span.role == role}
        is_back = role == "champion" and before is not None and (taken_back or now.version in decided)
        spans.append(
            Span(role=role, version=now.version, share=share, since=at, until=None, by=cause.released_by,
                 why=cause.why, rollback_from=before.version if is_back and before else "")
        )  # fmt: skip
