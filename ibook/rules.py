"""The verdict policy: rules and thresholds as data, read strictly from TOML text.

A rule is a condition over named features and fields of the request (see `ibook.expressions`) with what follows when it
holds. Everything is checked when the text is read, so a policy that was read can be used.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from ibook.costs import Costs
from ibook.errors import ConfigurationError
from ibook.expression_bounds import holds_on_what_is_known, is_at_least_a_constant
from ibook.expressions import BadExpressionError, Expression, Kind, parse
from ibook.features import FEATURE_NAMES, FEATURES, REQUEST_FEATURES
from ibook.messages import Posture
from ibook.reason_codes import REASONS

RuleAction = Literal["approve", "decline", "challenge", "review"]
Severity = Literal["critical", "high", "medium", "low"]
POSTURES: tuple[Posture, ...] = get_args(Posture)
SCORED_POSTURES: tuple[Posture, ...] = ("normal", "stale_features")
UNSCORED_POSTURES = tuple(posture for posture in POSTURES if posture not in SCORED_POSTURES)

REQUEST_FIELDS = (
    "user_id", "card_id", "device_id", "ip", "event_id", "promoter_id", "category", "ticket_type", "currency", "bin",
    "card_country", "ip_country", "email_domain", "quote_id",
)  # fmt: skip
"""Texts of a `PurchaseRequested` that conditions may name; its numbers are among the features."""
NAMES: Mapping[str, Kind] = {**dict.fromkeys(FEATURE_NAMES, "number"), **dict.fromkeys(REQUEST_FIELDS, "text")}
"""What a condition may name."""

_ORDER: tuple[RuleAction, ...] = get_args(RuleAction)
_SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_FIXED = (*REQUEST_FEATURES, *REQUEST_FIELDS)
_GROWING = frozenset(
    name for feature in FEATURES if feature.kind in ("count", "sum", "distinct", "max") for name in feature.names()
)
"""Features that can only be too low when part of the history is unknown."""

Probability = Annotated[float, Meta(gt=0.0, lt=1.0)]


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do when a condition holds, and why, in a sentence for the people who read the verdict."""

    id: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$")]
    why: Annotated[str, Meta(min_length=1)]
    action: RuleAction
    severity: Severity
    owner: Annotated[str, Meta(min_length=1, max_length=64)]
    """Who answers for it."""
    reason: str
    """Its code in the catalogue."""
    when: str
    expires: date | None = None
    """The rule is off from this day's beginning on (UTC), by the clock of the decision."""
    postures: Annotated[list[Posture], Meta(min_length=1)] | None = None
    """None: every posture in which its features mean something."""
    max_amount_minor: Annotated[int, Meta(ge=1)] | None = None
    """Of an allow-list (`approve`), and of nothing else: a larger purchase is judged like anybody's."""
    max_per_day_minor: Annotated[int, Meta(ge=1)] | None = None
    """Of an allow-list, too: so much in 24 hours of one account, this purchase included."""

    def is_off(self, at: datetime) -> bool:
        """Whether it has expired at an instant."""
        return self.expires is not None and at.astimezone(UTC).date() >= self.expires


class Thresholds(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Calibrated P(fraud) from which each action is taken; review <= challenge <= decline."""

    review: Probability
    challenge: Probability
    decline: Probability

    def __post_init__(self) -> None:
        """Raises ValueError when a milder action starts above a harsher one."""
        if not self.review <= self.challenge <= self.decline:
            raise ValueError("review <= challenge <= decline does not hold")


class Exploration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The share of would-be declines that is approved, and what that may cost."""

    share: Annotated[float, Meta(ge=0.0, le=0.05)]
    max_amount_minor: Annotated[int, Meta(ge=0)]
    """The largest amount that is approved."""
    declined_per_day_minor: Annotated[int, Meta(ge=0)]
    """What is declined up to that amount, in all, on a day: `ibook policies fit` counts it."""
    max_per_day_minor: Annotated[int, Meta(ge=0)]
    """What may be approved of it on a day, whatever is tried; an equal part of it in each partition.

    The share must be small enough that no more is expected, either.
    """

    def __post_init__(self) -> None:
        """Raises ValueError when the share would be expected to cost more than it may."""
        per_day = self.share * self.declined_per_day_minor
        if per_day > self.max_per_day_minor:
            raise ValueError(f"share of declined_per_day_minor is {per_day:.0f}, more than max_per_day_minor")


class _ThresholdsOfPostures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    normal: Thresholds
    stale_features: Thresholds


class _PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Annotated[str, Meta(min_length=1, max_length=32)]
    thresholds: _ThresholdsOfPostures
    costs: Costs | None = None
    exploration: Exploration
    lists: dict[str, Annotated[list[str], Meta(min_length=1)]] = {}
    """Name -> texts, for ``IN name``."""
    rules: list[Rule]


@dataclass(frozen=True)
class CompiledRule:
    """A rule as it is run."""

    rule: Rule
    condition: Expression
    postures: tuple[Posture, ...]


@dataclass(frozen=True)
class VerdictPolicy:
    """What `ibook.fraud.decide` decides by."""

    version: str
    """The file's version and eight digits of its hash: an edit without a new version is still told apart."""
    thresholds: Mapping[Posture, Thresholds]
    """For the postures with a score; where `costs` are given they only name the score band."""
    costs: Costs | None
    """What actions cost: the cheapest one for score and amount is then taken."""
    exploration: Exploration
    rules: tuple[Rule, ...]
    compiled: Mapping[Posture, tuple[CompiledRule, ...]]
    """Rules of each posture, in the order in which they count: allow, block, challenge, review, then by severity."""

    def in_force(self, posture: Posture, at: datetime) -> list[CompiledRule]:
        """The rules of a posture that have not expired."""
        return [each for each in self.compiled[posture] if not each.rule.is_off(at)]

    def expired(self, at: datetime) -> list[Rule]:
        """The rules that are off: somebody should renew them or take them out."""
        return [rule for rule in self.rules if rule.is_off(at)]

    def rule(self, rule_id: str) -> Rule:
        """A rule by its id. Raises StopIteration for one it does not have."""
        return next(rule for rule in self.rules if rule.id == rule_id)

    def why(self, rule_id: str) -> str:
        """The sentence of a rule. Raises StopIteration for a rule it does not have."""
        return self.rule(rule_id).why


DEFAULT_POLICY_PATH = Path(str(files("ibook") / "policies" / "verdict_policy.toml"))


def load_policy(path: Path = DEFAULT_POLICY_PATH) -> VerdictPolicy:
    """Read a policy file. Raises ConfigurationError with one sentence naming the file and the key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"verdict policy {path} can't be read: {error}.") from error
    return parse_policy(text, str(path))


def parse_policy(text: str, origin: str) -> VerdictPolicy:
    """A policy from TOML text; `origin` names it in errors. Raises ConfigurationError."""
    try:
        policy_file = msgspec.convert(tomllib.loads(text), _PolicyFile)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"verdict policy {origin} is not TOML: {error}.") from error
    except msgspec.ValidationError as error:
        raise _refused(origin, *_place_and_fault(str(error))) from error
    _check_stale_is_stricter(policy_file.thresholds, origin)
    compiled = _compile(policy_file, origin)
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return VerdictPolicy(
        version=f"{policy_file.version}+{digest}",
        thresholds={posture: getattr(policy_file.thresholds, posture) for posture in SCORED_POSTURES},
        costs=policy_file.costs,
        exploration=policy_file.exploration,
        rules=tuple(policy_file.rules),
        compiled={
            posture: tuple(each for each in compiled if posture in each.postures) for posture in POSTURES
        },
    )  # fmt: skip


def _refused(origin: str, key: str, fault: str) -> ConfigurationError:
    return ConfigurationError(f"verdict policy {origin}, key {key}: {fault}.")


def _place_and_fault(text: str) -> tuple[str, str]:
    """Split msgspec's "fault - at `$.key`"."""
    fault, _, place = text.partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    return key or "(top level)", fault


def _check_stale_is_stricter(thresholds: _ThresholdsOfPostures, origin: str) -> None:
    for name in ("review", "challenge", "decline"):
        if getattr(thresholds.stale_features, name) > getattr(thresholds.normal, name):
            raise _refused(origin, f"thresholds.stale_features.{name}", "is laxer than thresholds.normal")


def _compile(policy_file: _PolicyFile, origin: str) -> list[CompiledRule]:
    """The rules, checked, in the order in which they count."""
    lists = {name: frozenset(texts) for name, texts in policy_file.lists.items()}
    seen: set[str] = set()
    compiled = []
    for number, rule in enumerate(policy_file.rules):
        key = f"rules[{number}]"
        if rule.id in seen:
            raise _refused(origin, f"{key}.id", f"{rule.id!r} is there twice")
        seen.add(rule.id)
        _check_rule(rule, key, origin)
        try:
            condition = parse(_whole_condition(rule), NAMES, lists)
        except BadExpressionError as error:
            raise _refused(origin, f"{key}.when", str(error)) from error
        compiled.append(CompiledRule(rule, condition, _postures_of(rule, condition, key, origin)))
    for posture in UNSCORED_POSTURES:
        if not any(_catches_large_amounts(each, posture) for each in compiled):
            raise _refused(
                origin, "rules", f"posture {posture} needs a rule without expiry on a large amount_minor alone"
            )
    return sorted(compiled, key=_rank)


def _rank(compiled: CompiledRule) -> tuple[int, int]:
    return _ORDER.index(compiled.rule.action), _SEVERITIES.index(compiled.rule.severity)


def _check_rule(rule: Rule, key: str, origin: str) -> None:
    if rule.reason not in REASONS:
        raise _refused(origin, f"{key}.reason", f"no code of the catalogue is called {rule.reason!r}")
    allows = rule.action == "approve"
    if allows and None in (rule.expires, rule.max_amount_minor, rule.max_per_day_minor):
        raise _refused(
            origin,
            key,
            "an allow-list needs expires, max_amount_minor and max_per_day_minor: a stolen account is bounded",
        )
    for bound in ("max_amount_minor", "max_per_day_minor"):
        if not allows and getattr(rule, bound) is not None:
            raise _refused(origin, f"{key}.{bound}", "is for allow-lists alone; name the amount in when")


def _whole_condition(rule: Rule) -> str:
    """With the bounds of an allow-list, which hold whatever its condition says."""
    if rule.action != "approve":
        return rule.when
    bounds = f"amount_minor <= {rule.max_amount_minor} AND user_amount_sum_24h <= {rule.max_per_day_minor}"
    return f"({rule.when}) AND {bounds}"


def _postures_of(rule: Rule, condition: Expression, key: str, origin: str) -> tuple[Posture, ...]:
    """Where a rule holds. When only the worker's own purchases are known it must not be found in error."""
    alone = holds_on_what_is_known(condition, fixed=_FIXED, growing=_GROWING)
    if rule.postures is None:
        return POSTURES if alone else tuple(posture for posture in POSTURES if posture != "no_features")
    if "no_features" in rule.postures and not alone:
        doubtful = ", ".join(sorted(condition.names - set(_FIXED)))
        raise _refused(origin, f"{key}.postures", f"{doubtful} so compared means nothing in posture no_features")
    return tuple(rule.postures)


def _catches_large_amounts(compiled: CompiledRule, posture: Posture) -> bool:
    lasts = compiled.rule.expires is None and compiled.rule.action != "approve"
    return lasts and posture in compiled.postures and is_at_least_a_constant(compiled.condition, "amount_minor")
