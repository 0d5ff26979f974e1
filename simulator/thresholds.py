"""The bounds a run is judged by, read from a file and checked while it is read."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta, Struct

from ibook.errors import ConfigurationError

DEFAULT_PATH = Path(__file__).with_name("thresholds.toml")
SCENARIO = "scenario"
"""The table of a file that holds bounds for one scenario alone."""


class Threshold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bound of one measure: either `at_most` or `at_least`, and why it is where it is."""

    why: Annotated[str, Meta(min_length=1)]
    at_most: float | None = None
    at_least: float | None = None
    needs: Annotated[int, Meta(ge=0)] = 0
    """How many purchases, offers or prices the measure must rest on to be judged."""

    def __post_init__(self) -> None:
        """Raises ValueError unless there is exactly one bound, a finite one."""
        bounds = [bound for bound in (self.at_most, self.at_least) if bound is not None]
        if len(bounds) != 1 or not abs(bounds[0]) < float("inf"):
            raise ValueError("needs one of at_most and at_least, a finite number")

    @property
    def bound(self) -> float:
        """The number."""
        return self.at_least if self.at_most is None else self.at_most  # type: ignore[return-value]

    @property
    def looseness(self) -> float:
        """Of two bounds of a measure on the same side, the looser one's is greater."""
        return self.bound if self.at_least is None else -self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_most is None else '≤'} {self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound; not a number is not."""
        return value <= self.bound if self.at_least is None else value >= self.bound


class Known(NamedTuple):
    """What a file may name."""

    measures: tuple[str, ...]
    families: tuple[str, ...]
    """What the names of other measures may begin with."""
    scenarios: tuple[str, ...]


class Thresholds(Struct, frozen=True, kw_only=True):
    """The bounds of every scenario, and what some of them have otherwise."""

    general: dict[str, Threshold]
    by_scenario: dict[str, dict[str, Threshold]]

    def of(self, scenario: str, parts: Sequence[str] = ()) -> dict[str, Threshold]:
        """The bounds of a scenario; of one mixed of `parts` the loosest that one of them has, unless it has its own."""
        common = _loosest([self.of(part) for part in parts]) if parts else self.general
        return {**common, **self.by_scenario.get(scenario, {})}


def _loosest(bounds: Sequence[dict[str, Threshold]]) -> dict[str, Threshold]:
    """Per measure the bound that most values hold, of those that have one."""
    return {
        name: max((own[name] for own in bounds if name in own), key=lambda each: each.looseness)
        for name in dict.fromkeys(name for own in bounds for name in own)
    }


def load_thresholds(path: Path | None, known: Known) -> Thresholds:
    """The bounds that come with the simulator; what a file at `path` says of them counts instead.

    Raises ConfigurationError in one sentence when a file can't be read, is no TOML, or names a measure or a scenario
    that is none.
    """
    own = _read(DEFAULT_PATH, known)
    if path is None:
        return own
    theirs = _read(path, known)
    return Thresholds(
        general={**own.general, **theirs.general},
        by_scenario={
            name: {**own.by_scenario.get(name, {}), **theirs.by_scenario.get(name, {})} for name in known.scenarios
        },
    )


def _read(path: Path, known: Known) -> Thresholds:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The thresholds in {path} can't be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"The thresholds in {path} are no TOML: {error}.") from error
    scenarios = tables.pop(SCENARIO, {})
    if not isinstance(scenarios, dict) or not set(scenarios) <= set(known.scenarios):
        raise ConfigurationError(
            f"In {path} the table {SCENARIO} may hold bounds of {', '.join(known.scenarios)}, and of nothing else."
        )
    return Thresholds(
        general=_bounds(path, tables, known),
        by_scenario={name: _bounds(path, own, known) for name, own in scenarios.items()},
    )


def _bounds(path: Path, tables: Any, known: Known) -> dict[str, Threshold]:
    try:
        groups = msgspec.convert(tables, dict[str, dict[str, Threshold]])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"The thresholds in {path} are not as they must be: {error}.") from error
    bounds = {f"{group}.{name}": bound for group, own in groups.items() for name, bound in own.items()}
    for name in bounds:
        if name not in known.measures and not name.startswith(known.families):
            raise ConfigurationError(f"{path} has a threshold for {name}, which nobody measures.")
    return bounds
