"""Releases of verdict policies as a timeline: what was released, what can be used, and what to go back to."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from ibook.errors import ConfigurationError
from ibook.messages import PolicyConfirmed, PolicyReleased, PolicyReleases, PolicyTakenBack
from ibook.releases import GUARD, has_proved_itself
from ibook.rules import DEFAULT_POLICY_PATH, VerdictPolicy, load_policy, parse_policy

POLICY = "verdicts"
"""The key of every release: one policy decides at a time."""
MAX_TEXT_BYTES = 500_000
"""Some ten thousand listed ids; a message of Kafka holds twice as much."""

Word = TypeVar("Word", PolicyTakenBack, PolicyConfirmed)


def released(
    text: str, origin: str, *, message_id: str, at: datetime, released_by: str = "", why: str = "", guarded: bool = True
) -> PolicyReleased:
    """The message that lets a policy decide. Raises ConfigurationError for a text that is no policy, or too long."""
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ConfigurationError(f"verdict policy {origin} has more than {MAX_TEXT_BYTES} bytes: shorten its lists.")
    return PolicyReleased(
        message_id=message_id, occurred_at=at, policy=POLICY, version=parse_policy(text, origin).version, text=text,
        sha256=sha256(text.encode()).hexdigest(), released_by=released_by, why=why, guarded=guarded,
    )  # fmt: skip


def word_of_guard(kind: type[Word], release: PolicyReleased, why: str, now: datetime) -> Word:
    """The message by which a worker takes a release back or confirms it; its id is the same whoever says so."""
    return kind(
        message_id=f"{kind.__struct_config__.tag}-{release.message_id}"[:128], occurred_at=now, policy=release.policy,
        release_id=release.message_id, released_by=GUARD, why=why,
    )  # fmt: skip


def policy_of(release: PolicyReleased) -> VerdictPolicy:
    """The policy of a release.

    Raises ConfigurationError when its text is not what was released, or is no policy to this version of the code.
    """
    if sha256(release.text.encode()).hexdigest() != release.sha256:
        raise ConfigurationError(f"verdict policy {release.version} is not the text that its SHA-256 was taken of.")
    policy = parse_policy(release.text, f"release {release.version}")
    if policy.version != release.version:
        raise ConfigurationError(f"verdict policy {release.version} calls itself {policy.version}.")
    return policy


def is_usable(release: PolicyReleased) -> bool:
    """Whether a process of this version decides by it."""
    try:
        policy_of(release)
    except ConfigurationError:
        return False
    return True


def counting(log: Iterable[PolicyReleases]) -> list[PolicyReleased]:
    """The releases that nobody took back, newest first; the first usable one decides."""
    log = list(log)
    gone = {each.release_id for each in log if isinstance(each, PolicyTakenBack)}
    found = [each for each in log if isinstance(each, PolicyReleased) and each.policy == POLICY]
    return [each for each in reversed(found) if each.message_id not in gone]


def is_on_probation(log: Sequence[PolicyReleases], release: PolicyReleased) -> bool:
    """Whether it has yet to prove itself: guarded, not confirmed, and not one that decided before another did."""
    confirmed = {each.release_id for each in log if isinstance(each, PolicyConfirmed)}
    return release.guarded and not has_proved_itself(release, counting(log), confirmed)


def deciding(log: Sequence[PolicyReleases]) -> PolicyReleased | None:
    """The release that decides: the newest usable one; None when the packaged policy does."""
    return next((release for release in counting(log) if is_usable(release)), None)


def text_to_go_back_to(log: Sequence[PolicyReleases], version: str | None = None) -> str:
    """The text of a version that decided before; without one, of the last that is not the one deciding now.

    Before the first release the packaged policy decided. Raises ConfigurationError when there is nothing to go back to.
    """
    if version is None:
        return _text_before(log)
    named = [each for each in log if isinstance(each, PolicyReleased) and each.version == version and is_usable(each)]
    if named:
        return named[-1].text
    if version == load_policy().version:
        return DEFAULT_POLICY_PATH.read_text(encoding="utf-8")
    raise ConfigurationError(f"No usable policy {version} was released: `ibook policies list` names those that were.")


def _text_before(log: Sequence[PolicyReleases]) -> str:
    now = deciding(log)
    if now is None:
        raise ConfigurationError("The packaged policy decides, and none decided before it.")
    others = (each for each in counting(log) if each.version != now.version and is_usable(each))
    before = next(others, None)
    return before.text if before else DEFAULT_POLICY_PATH.read_text(encoding="utf-8")
