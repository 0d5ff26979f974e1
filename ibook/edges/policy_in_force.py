"""The verdict policy that decides now: follows the releases, and swaps in each that can be used."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, Self

import structlog

from ibook.clock import Clock, SystemClock
from ibook.edges.follower import Follower
from ibook.edges.following_releases import FollowingReleases
from ibook.edges.kafka import Record
from ibook.edges.kept_release import KeptRelease
from ibook.errors import ConfigurationError
from ibook.messages import PolicyConfirmed, PolicyReleased, PolicyReleases, PolicyTakenBack
from ibook.metrics import (
    EXPLORATION_CAP,
    POLICIES_TAKEN_BACK,
    POLICY_IN_FORCE,
    POLICY_RELEASES,
    RULES_EXPIRED,
    name_one,
)
from ibook.policy_releases import POLICY, counting, is_on_probation, policy_of, word_of_guard
from ibook.rules import VerdictPolicy, load_policy
from ibook.settings import Settings
from ibook.topics import POLICY_RELEASES as RELEASES_TOPIC

POLL_SECONDS = 0.5
Origin = Literal["released", "packaged", "kept", "unread"]
"""Where the policy comes from. Until releases were found: `kept` in the data folder, or `unread`, the packaged one."""

log = structlog.get_logger(__name__)


class InForce(NamedTuple):
    """What a batch is decided by."""

    policy: VerdictPolicy
    release: PolicyReleased | None = None
    """That let it decide; None for the packaged policy."""
    former: VerdictPolicy | None = None
    """Decided before, and is compared with while the policy is on probation."""


class PolicyInForce(FollowingReleases[PolicyTakenBack | PolicyConfirmed]):
    """The policy that decides now; the packaged one until another was released. Also a context manager."""

    def __init__(self, packaged: VerdictPolicy | None = None, clock: Clock | None = None) -> None:
        super().__init__(RELEASES_TOPIC, POLICY)
        self._packaged = packaged or load_policy()
        self._clock = clock or SystemClock()
        self._log: list[PolicyReleases] = []
        self._in_force = InForce(self._packaged)
        self._read: dict[str, VerdictPolicy | str] = {}
        """By message id of the release: its policy, or why it can't be used."""
        self._kept: PolicyReleased | None = None
        """What it began with."""
        self._swapping = threading.Lock()
        self._report: dict[str, Any] = {}
        self.origin: Origin = "unread"
        self.expired = 0
        """Rules of the policy that are off by now."""

    @classmethod
    def follow(cls, settings: Settings) -> Self:
        """A policy that reads the releases in a thread of its own, from the first one on.

        Until they were read it is the one that decided last on this data folder.
        """
        followed = cls()
        kept = KeptRelease(settings.data_dir, f"policy-{POLICY}", PolicyReleased)
        followed.begin_with(kept.begin())

        def then() -> None:
            followed._keep(kept)
            followed._tell_others(settings)

        followed._follower = Follower(
            settings, RELEASES_TOPIC.name, take=followed._take, poll_seconds=POLL_SECONDS, then=then
        )
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
    def begin_with(self, release: PolicyReleased | None) -> None:
        """Decide by a release that was kept, when it can be used, until the releases themselves were found."""
        self._kept = release
        policy = self._policy_of(release) if release else None  # not remembered: the file may differ from the topic
        if isinstance(policy, VerdictPolicy):
            self._in_force, self.origin = InForce(policy, release), "kept"
        self._report = {"policy": self.policy.version, "policies": 0, "policy_refused": "", "policy_from": self.origin}
        log.info("policy_until_releases_are_read", version=self.policy.version, origin=self.origin)
        self._measure()

    def _keep(self, kept: KeptRelease[PolicyReleased]) -> None:
        """Keep what decides; what others could use and this process can't is left to them."""
        if self._log:
            kept.keep_deciding(self.in_force.release, counting([*self._log, *self._said.values()]))

    def apply(self, messages: Sequence[PolicyReleases]) -> None:
        """Take note of releases, and decide by the newest that can be used; the bad ones after it are refused.

        Without any, what was kept goes on.
        """
        known = {each.message_id for each in self._log}
        for message in messages:
            if message.policy == POLICY and message.message_id not in known:
                known.add(message.message_id)
                self._log.append(message)
        with self._swapping:
            if not self._is_lost(self._kept, self._log):
                self._try()
        self._measure()

    def _measure(self) -> None:
        """What the gauges say of the policy that decides now."""
        name_one(POLICY_IN_FORCE, self.policy.version, self.origin)
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
        self.origin = "released" if release else "packaged"
        self._in_force = InForce(policy, release, former)
        if is_news and release is not None:
            self._welcome(policy, release)
        why = self._read.get(found[0].message_id) if found else None
        self._report = {
            "policy": policy.version, "policies": len(self._log),
            "policy_refused": why if isinstance(why, str) else "", "policy_from": self.origin,
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
        super()._refuse(version, why)
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
        super()._say(message)
        self._try()

    def _take(self, records: Sequence[Record]) -> None:
        self.apply(self._decoded(records))
