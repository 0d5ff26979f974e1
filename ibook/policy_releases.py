"""Releases of verdict policies as a timeline: what was released, what can be used, and what to go back to."""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from ibook.errors import ConfigurationError
from ibook.messages import PolicyReleased
from ibook.rules import DEFAULT_POLICY_PATH, VerdictPolicy, load_policy, parse_policy

POLICY = "verdicts"
"""The key of every release: one policy decides at a time."""
MAX_TEXT_BYTES = 500_000
"""Some ten thousand listed ids; a message of Kafka holds twice as much."""


def released(
    text: str, origin: str, *, message_id: str, at: datetime, released_by: str = "", why: str = ""
) -> PolicyReleased:
    """The message that lets a policy decide. Raises ConfigurationError for a text that is no policy, or too long."""
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ConfigurationError(f"verdict policy {origin} has more than {MAX_TEXT_BYTES} bytes: shorten its lists.")
    return PolicyReleased(
        message_id=message_id, occurred_at=at, policy=POLICY, version=parse_policy(text, origin).version, text=text,
        sha256=sha256(text.encode()).hexdigest(), released_by=released_by, why=why,
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


def deciding(releases: Sequence[PolicyReleased]) -> PolicyReleased | None:
    """The release that decides: the newest usable one; None when the packaged policy does."""
    return next((release for release in reversed(releases) if is_usable(release)), None)


def text_to_go_back_to(releases: Sequence[PolicyReleased], version: str | None = None) -> str:
    """The text of a version that decided before; without one, of the last that is not the one deciding now.

    Before the first release the packaged policy decided. Raises ConfigurationError when there is nothing to go back to.
    """
    now = deciding(releases)
    if version is None:
        if now is None:
            raise ConfigurationError("The packaged policy decides, and none decided before it.")
        earlier = [release for release in releases if release.version != now.version and is_usable(release)]
        return earlier[-1].text if earlier else DEFAULT_POLICY_PATH.read_text(encoding="utf-8")
    found = [release for release in releases if release.version == version and is_usable(release)]
    if found:
        return found[-1].text
    if version == load_policy().version:
        return DEFAULT_POLICY_PATH.read_text(encoding="utf-8")
    raise ConfigurationError(f"No usable policy {version} was released: `ibook policies list` names those that were.")
