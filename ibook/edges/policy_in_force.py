"""The verdict policy that decides now: follows the releases, and swaps in each that can be used."""

from collections.abc import Sequence
from typing import Self

import structlog

from ibook.clock import Clock, SystemClock
from ibook.codec import MAX_OWN_BYTES, decode
from ibook.edges.follower import Follower
from ibook.edges.kafka import Record
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.messages import PolicyReleased
from ibook.metrics import EXPLORATION_CAP, POLICY_RELEASES, RULES_EXPIRED
from ibook.policy_releases import POLICY, policy_of
from ibook.rules import VerdictPolicy, load_policy
from ibook.settings import Settings
from ibook.topics import POLICY_RELEASES as RELEASES_TOPIC

POLL_SECONDS = 0.5

log = structlog.get_logger(__name__)


class PolicyInForce:
    """The policy that decides now; the packaged one until another was released. Also a context manager."""

    def __init__(self, packaged: VerdictPolicy | None = None, clock: Clock | None = None) -> None:
        self._policy = packaged or load_policy()
        self._clock = clock or SystemClock()
        self._follower: Follower | None = None
        self.refused = 0
        """Releases that were not taken when they came; the policy before them goes on."""
        self.last_refusal = ""
        """Why, in a sentence."""
        self.expired = 0
        """Rules of the policy that are off by now."""

    @classmethod
    def follow(cls, settings: Settings) -> Self:
        """A policy that reads the releases in a thread of its own, from the first one on."""
        followed = cls()
        followed._follower = Follower(settings, RELEASES_TOPIC.name, take=followed._take, poll_seconds=POLL_SECONDS)
        followed._follower.start()
        return followed

    @property
    def policy(self) -> VerdictPolicy:
        """The current policy. Take it once per batch."""
        return self._policy

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the releases that were there at start have been tried. False when Kafka was away that long."""
        return self._follower is None or self._follower.caught_up.wait(timeout_seconds)

    def apply(self, releases: Sequence[PolicyReleased]) -> None:
        """Take the newest release that can be used; the bad ones after it are refused and counted."""
        for release in reversed(releases):
            if release.policy == POLICY and self._taken(release):
                break
        self.expired = len(self._policy.expired(self._clock.now()))
        RULES_EXPIRED.set(self.expired)
        EXPLORATION_CAP.set(self._policy.exploration.max_per_day_minor)

    def close(self) -> None:
        """Stop following. The policy stays."""
        if self._follower is not None:
            self._follower.close()

    def __enter__(self) -> Self:
        """The policy in force itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _taken(self, release: PolicyReleased) -> bool:
        try:
            policy = policy_of(release)
        except ConfigurationError as error:
            self._refuse(release.version, str(error))
            return False
        except Exception as error:  # whatever it is, an older release may be good
            log.exception("a policy could not be read", version=release.version)
            self._refuse(release.version, repr(error))
            return False
        self._policy = policy
        POLICY_RELEASES.labels("taken").inc()
        log.info("policy_taken", version=policy.version, why=release.why, released_by=release.released_by)
        for rule in policy.expired(self._clock.now()):
            log.warning("rule_expired", rule=rule.id, owner=rule.owner, expires=str(rule.expires))
        return True

    def _refuse(self, version: str, why: str) -> None:
        self.refused += 1
        self.last_refusal = why
        POLICY_RELEASES.labels("refused").inc()
        log.error("policy_refused", version=version, why=why, goes_on=self._policy.version)

    def _take(self, records: Sequence[Record]) -> None:
        self.apply(self._decoded(records))

    def _decoded(self, records: Sequence[Record]) -> list[PolicyReleased]:
        releases = []
        for record in records:
            try:
                releases.append(decode(record.value, PolicyReleased, max_bytes=MAX_OWN_BYTES))
            except InvalidMessage as error:
                self._refuse(f"at offset {record.offset}", str(error))
        return releases
