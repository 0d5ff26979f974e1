"""The verdict policy: rules and thresholds as data, read strictly from a TOML file.

A rule is a list of clauses that must all hold. A clause compares one named feature with a constant; a missing feature
(NaN) satisfies none. There is no expression to evaluate, so a policy can be checked completely when it is read.
"""

import operator
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
from msgspec import Meta, Struct

from ibook.errors import ConfigurationError
from ibook.features import FEATURE_NAMES, FEATURES, REQUEST_FEATURES
from ibook.messages import Posture

RuleAction = Literal["decline", "challenge", "review"]
Operator = Literal["lt", "le", "gt", "ge", "eq"]
POSTURES: tuple[Posture, ...] = get_args(Posture)
SCORED_POSTURES: tuple[Posture, ...] = ("normal", "stale_features")
UNSCORED_POSTURES = tuple(posture for posture in POSTURES if posture not in SCORED_POSTURES)

Compare = Callable[[float, float], bool]
_OPERATORS: dict[Operator, Compare] = {
    "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge, "eq": operator.eq,
}  # fmt: skip
_SEVERITY: dict[RuleAction, int] = {"decline": 0, "challenge": 1, "review": 2}
_INDEX = {name: index for index, name in enumerate(FEATURE_NAMES)}
_GROWING = frozenset(
    name for feature in FEATURES if feature.kind in ("count", "sum", "distinct", "max") for name in feature.names()
)
"""Features that can only be too low when part of the history is unknown."""

Probability = Annotated[float, Meta(gt=0.0, lt=1.0)]


class Clause(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`feature op value`."""

    feature: str
    op: Operator
    value: float


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do when all clauses hold, and why, in a sentence for the people who read the verdict."""

    id: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$")]
    why: Annotated[str, Meta(min_length=1)]
    action: RuleAction
    when: Annotated[list[Clause], Meta(min_length=1)]
    postures: Annotated[list[Posture], Meta(min_length=1)] | None = None
    """None: every posture in which its features mean something."""


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
    """The share of would-be declines that is approved, and the largest amount it is approved for."""

    share: Annotated[float, Meta(ge=0.0, le=0.05)]
    max_amount_minor: Annotated[int, Meta(ge=0)]


class _ThresholdsOfPostures(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    normal: Thresholds
    stale_features: Thresholds


class _PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Annotated[str, Meta(min_length=1, max_length=32)]
    thresholds: _ThresholdsOfPostures
    exploration: Exploration
    rules: list[Rule]


@dataclass(frozen=True)
class CompiledRule:
    """A rule as the hot path runs it: (index into the vector, comparison, value) per clause."""

    id: str
    action: RuleAction
    clauses: tuple[tuple[int, Compare, float], ...]


@dataclass(frozen=True)
class VerdictPolicy:
    """What `ibook.fraud.decide` decides by."""

    version: str
    """The file's version and eight digits of its hash: an edit without a new version is still told apart."""
    thresholds: Mapping[Posture, Thresholds]
    """For the postures with a score."""
    exploration: Exploration
    rules: tuple[Rule, ...]
    compiled: Mapping[Posture, tuple[CompiledRule, ...]]
    """Rules of each posture, the harshest first."""

    def why(self, rule_id: str) -> str:
        """The sentence of a rule. Raises StopIteration for a rule it does not have."""
        return next(rule.why for rule in self.rules if rule.id == rule_id)


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
    _check(policy_file, origin)
    digest = blake2b(text.encode(), digest_size=4).hexdigest()
    return VerdictPolicy(
        version=f"{policy_file.version}+{digest}",
        thresholds={posture: getattr(policy_file.thresholds, posture) for posture in SCORED_POSTURES},
        exploration=policy_file.exploration,
        rules=tuple(policy_file.rules),
        compiled={posture: _compile(policy_file.rules, posture) for posture in POSTURES},
    )


def _refused(origin: str, key: str, fault: str) -> ConfigurationError:
    return ConfigurationError(f"verdict policy {origin}, key {key}: {fault}.")


def _place_and_fault(text: str) -> tuple[str, str]:
    """Split msgspec's "fault - at `$.key`"."""
    fault, _, place = text.partition(" - at ")
    key = place.strip("`").removeprefix("$").removeprefix(".")
    return key or "(top level)", fault


def _check(policy_file: _PolicyFile, origin: str) -> None:
    _check_stale_is_stricter(policy_file.thresholds, origin)
    seen: set[str] = set()
    for number, rule in enumerate(policy_file.rules):
        if rule.id in seen:
            raise _refused(origin, f"rules[{number}].id", f"{rule.id!r} is there twice")
        seen.add(rule.id)
        _check_rule(rule, f"rules[{number}]", origin)
    for posture in UNSCORED_POSTURES:
        if not any(_catches_large_amounts(rule, posture) for rule in policy_file.rules):
            raise _refused(origin, "rules", f"posture {posture} needs a rule on a large amount_minor alone")


def _check_stale_is_stricter(thresholds: _ThresholdsOfPostures, origin: str) -> None:
    for name in ("review", "challenge", "decline"):
        if getattr(thresholds.stale_features, name) > getattr(thresholds.normal, name):
            raise _refused(origin, f"thresholds.stale_features.{name}", "is laxer than thresholds.normal")


def _check_rule(rule: Rule, key: str, origin: str) -> None:
    for number, clause in enumerate(rule.when):
        place = f"{key}.when[{number}]"
        if clause.feature not in _INDEX:
            raise _refused(origin, f"{place}.feature", f"no feature is called {clause.feature!r}")
        if not np.isfinite(clause.value):
            raise _refused(origin, f"{place}.value", "is not a finite number")
        if rule.postures and "no_features" in rule.postures and not _means_something_alone(clause):
            raise _refused(origin, f"{key}.postures", f"{clause.feature} means nothing in posture no_features")


def _means_something_alone(clause: Clause) -> bool:
    """Whether a clause can be trusted when only the worker's own purchases are known.

    What grows with history is then a lower bound, so it can be found too high but not too low.
    """
    return clause.feature in REQUEST_FEATURES or (clause.feature in _GROWING and clause.op in ("ge", "gt"))


def _catches_large_amounts(rule: Rule, posture: Posture) -> bool:
    clause = rule.when[0]
    alone = len(rule.when) == 1 and clause.feature == "amount_minor" and clause.op in ("ge", "gt")
    return alone and posture in _postures_of(rule)


def _postures_of(rule: Rule) -> Sequence[Posture]:
    if rule.postures is not None:
        return rule.postures
    alone = all(_means_something_alone(clause) for clause in rule.when)
    return POSTURES if alone else [posture for posture in POSTURES if posture != "no_features"]


def _compile(rules: Sequence[Rule], posture: Posture) -> tuple[CompiledRule, ...]:
    chosen = [rule for rule in rules if posture in _postures_of(rule)]
    chosen.sort(key=lambda rule: _SEVERITY[rule.action])
    return tuple(CompiledRule(rule.id, rule.action, tuple(map(_compile_clause, rule.when))) for rule in chosen)


def _compile_clause(clause: Clause) -> tuple[int, Compare, float]:
    # Features are float32: 0.7 read back is 0.69999999, so the constant takes the same rounding.
    return _INDEX[clause.feature], _OPERATORS[clause.op], float(np.float32(clause.value))
