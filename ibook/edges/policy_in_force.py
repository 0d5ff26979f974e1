"""The verdict policy that decides now: follows the releases, and swaps in each that can be used."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import structlog

from ibook.clock import Clock, SystemClock
from ibook.codec import MAX_OWN_BYTES, decode, encode
from ibook.edges.follower import Follower
from ibook.edges.kafka import Outgoing, Record, producer, publish
from ibook.errors import ConfigurationError, InvalidMessage
from ibook.messages import PolicyConfirmed, PolicyReleased, PolicyReleases, PolicyTakenBack
from ibook.metrics import EXPLORATION_CAP, POLICIES_TAKEN_BACK, POLICY_RELEASES, RULES_EXPIRED
from ibook.policy_releases import POLICY, counting, is_on_probation, policy_of, word_of_guard
from ibook.rules import VerdictPolicy, load_policy
from ibook.settings import Settings
from ibook.topics import POLICY_RELEASES as RELEASES_TOPIC

POLL_SECONDS = 0.5

log = structlog.get_logger(__name__)


class InForce(NamedTuple):
    """What a batch is decided by."""

    policy: VerdictPolicy
    release: PolicyReleased | None = None
    """That let it decide; None for the packaged policy."""
    former: VerdictPolicy | None = None
    """Decided before, and is compared with while the policy is on probation."""


class PolicyInForce:
    """The policy that decides now; the packaged one until another was released. Also a context manager."""

    def __init__(self, packaged: VerdictPolicy | None = None, clock: Clock | None = None) -> None:
        self._packaged = packaged or load_policy()
        self._clock = clock or SystemClock()
        self._log: list[PolicyReleases] = []
        self._in_force = InForce(self._packaged)
        self._read: dict[str, VerdictPolicy | str] = {}
        """By message id of the release: its policy, or why it can't be used."""
        self._said: dict[str, PolicyTakenBack | PolicyConfirmed] = {}
        """By the guard of this process, by message id of the release."""
        self._untold: list[PolicyTakenBack | PolicyConfirmed] = []
        self._swapping = threading.Lock()
        self._follower: Follower | None = None
        self._report: dict[str, Any] = {}
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
        followed._follower = Follower(
            settings, RELEASES_TOPIC.name, take=followed._take, poll_seconds=POLL_SECONDS,
            then=lambda: followed._tell(settings),
        )  # fmt: skip
        followed._follower.start()
        return followed

    @property
    def policy(self) -> VerdictPolicy:
        """The current policy. Take it once per batch."""
        return self._in_force.policy

    @property
    def in_force(self) -> InForce:
        """The current policy, and the one before it while that is compared. Take it once per batch."""
        return self._in_force

    def report(self) -> dict[str, Any]:
        """What a process that decides by it tells of it: fields of ModelReport; none before anything was read."""
        return self._report

    def wait(self, timeout_seconds: float) -> bool:
        """Wait until the releases that were there at start have been tried. False when Kafka was away that long."""
        return self._follower is None or self._follower.caught_up.wait(timeout_seconds)

    # ----------------------------------------------------------------------------------------------------- following
    def apply(self, messages: Sequence[PolicyReleases]) -> None:
        """Take note of releases, and decide by the newest that can be used; the bad ones after it are refused."""
        known = {each.message_id for each in self._log}
        for message in messages:
            if message.policy == POLICY and message.message_id not in known:
                known.add(message.message_id)
                self._log.append(message)
        with self._swapping:
            self._try()
        self.expired = len(self.policy.expired(self._clock.now()))
        RULES_EXPIRED.set(self.expired)
        EXPLORATION_CAP.set(self.policy.exploration.max_per_day_minor)

    def _try(self) -> None:
        """Decide by what counts now."""
        said = [*self._log, *self._said.values()]
        found = counting(said)
        release, policy = next(self._usable(found), (None, self._packaged))
        former = None
        if release is not None and is_on_probation(said, release):
            before = self._usable(found[found.index(release) :])
            former = next((each for other, each in before if other.version != release.version), self._packaged)
        is_news = policy.version != self.policy.version
        self._in_force = InForce(policy, release, former)
        if is_news and release is not None:
            self._welcome(policy, release)
        why = self._read.get(found[0].message_id) if found else None
        self._report = {
            "policy": policy.version, "policies": len(self._log),
            "policy_refused": why if isinstance(why, str) else "",
        }  # fmt: skip

    def _usable(self, releases: Sequence[PolicyReleased]) -> Iterator[tuple[PolicyReleased, VerdictPolicy]]:
        """Those that can be used, in their order, read as they are asked for."""
        for release in releases:
            if release.message_id not in self._read:
                self._read[release.message_id] = self._policy_of(release)
            found = self._read[release.message_id]
            if isinstance(found, VerdictPolicy):
                yield release, found

    def _policy_of(self, release: PolicyReleased) -> VerdictPolicy | str:
        try:
            return policy_of(release)
        except ConfigurationError as error:
            why = str(error)
        except Exception as error:  # whatever it is, an older release may be good
            log.exception("a policy could not be read", version=release.version)
            why = repr(error)
        self._refuse(release.version, why)
        return why

    def _welcome(self, policy: VerdictPolicy, release: PolicyReleased) -> None:
        POLICY_RELEASES.labels("taken").inc()
        log.info("policy_taken", version=policy.version, why=release.why, released_by=release.released_by)
        for rule in policy.expired(self._clock.now()):
            log.warning("rule_expired", rule=rule.id, owner=rule.owner, expires=str(rule.expires))

    def _refuse(self, version: str, why: str) -> None:
        self.refused += 1
        self.last_refusal = why
        POLICY_RELEASES.labels("refused").inc()
        log.error("policy_refused", version=version, why=why, goes_on=self.policy.version)

    # ------------------------------------------------------------------------------------------------------ the guard
    def confirm(self, release: PolicyReleased, why: str) -> None:
        """A policy has proved itself: it is compared no longer, here at once, in every other process soon."""
        with self._swapping:
            if release.message_id not in self._said:
                self._say(word_of_guard(PolicyConfirmed, release, why, self._clock.now()))
                log.info("policy_confirmed", version=release.version, why=why)

    def take_back(self, release: PolicyReleased, why: str) -> None:
        """Stop deciding by a release at once, and let every other process know of it soon."""
        with self._swapping:
            if isinstance(self._said.get(release.message_id), PolicyTakenBack):
                return
            self._say(word_of_guard(PolicyTakenBack, release, why, self._clock.now()))
        POLICIES_TAKEN_BACK.inc()
        log.error("policy_taken_back", version=release.version, why=why, goes_on=self.policy.version)

    def _say(self, message: PolicyTakenBack | PolicyConfirmed) -> None:
        self._said[message.release_id] = message
        self._untold.append(message)
        self._try()

    def _tell(self, settings: Settings) -> None:
        """Publish what the guard of this process found; what does not reach Kafka is tried again."""
        while self._untold:
            message = self._untold[0]
            outgoing = Outgoing(topic=RELEASES_TOPIC.name, key=message.policy.encode(), value=encode(message))
            publish(producer(settings), [outgoing])
            self._untold.pop(0)

    # ----------------------------------------------------------------------------------------------------- the thread
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

    def _take(self, records: Sequence[Record]) -> None:
        self.apply(self._decoded(records))

    def _decoded(self, records: Sequence[Record]) -> list[PolicyReleases]:
        messages: list[PolicyReleases] = []
        for record in records:
            try:
                messages.append(decode(record.value, RELEASES_TOPIC.message, max_bytes=MAX_OWN_BYTES))
            except InvalidMessage as error:
                self._refuse(f"at offset {record.offset}", str(error))
        return messages
