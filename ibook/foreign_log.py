"""A log that others wrote, as a table: context, arm, propensity, reward. Checked row by row before it is believed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ibook.candidates import Candidate, Columns, FixedPrices
from ibook.errors import ConfigurationError
from ibook.off_policy import Decisions, Floats
from ibook.reward_model import columns_of, predictions

Table = Mapping[str, Sequence[Any]]
NEEDED = ("arm", "propensity", "reward")
OPTIONAL = ("cluster", "decisions")
CONTEXT = "context_"
MOST_ARMS = 1000
LEAST_PROPENSITY = 1e-6
"""A row that was drawn once in a million times would outweigh all others, if it is no slip of the pen."""
LARGEST = 1e15
"""Of any number: sums of squares stay far from where floats end."""


def decisions_in(table: Table, candidate: Candidate) -> Decisions:
    """The rows of a table, weighed for a candidate.

    Columns: `arm`, `propensity` in (0, 1], `reward`; `cluster` names rows that depend on one another (without it each
    row is its own), `decisions` how many equal ones a row stands for (its `reward` is their sum), `context_…` is what
    the reward model sees. Raises ConfigurationError that names column and row.
    """
    arms = _arms(table)
    names = sorted(set(arms))
    if len(names) > MOST_ARMS:
        raise ConfigurationError(f"The log has {len(names)} arms, {MOST_ARMS} at most: is `arm` a number of its own?")
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([place[arm] for arm in arms], dtype=np.int64)
    propensity, reward = _propensities(table), _floats(table, "reward")
    n = _floats(table, "decisions", lowest=0.0) if "decisions" in table else np.ones(len(arms))
    if not n.any():
        raise ConfigurationError("Every row of the log stands for 0 decisions.")
    target = _probabilities(table, candidate, names, len(arms))
    clusters = _clusters(table, len(arms))
    model = predictions(_context(table, len(arms)), numbers, reward, n, clusters, len(names))
    rows = np.arange(len(arms))
    return Decisions(
        weights=target[rows, numbers] / propensity, reward=reward, n=n, clusters=clusters,
        model=model[rows, numbers], baseline=np.sum(target * model, axis=1),
    )  # fmt: skip


def _arms(table: Table) -> list[str]:
    values = _column(table, "arm")
    missing = next((row for row, each in enumerate(values, start=1) if each in (None, "") or each != each), None)
    if missing:
        raise ConfigurationError(f"Row {missing}: arm is missing.")
    return [str(each) for each in values]


def _probabilities(table: Table, candidate: Candidate, names: Sequence[str], n_rows: int) -> Floats:
    """P(arm | candidate), shape ``(n_rows, n_arms)``. Raises ConfigurationError for arms the log does not have."""
    match candidate:
        case FixedPrices():
            _check_arms(candidate.probabilities, names)
            return np.tile([candidate.probabilities.get(name, 0.0) for name in names], (n_rows, 1))
        case Columns():
            _check_arms(candidate.columns, names)
            found = np.zeros((n_rows, len(names)))
            for place, name in enumerate(names):
                if name in candidate.columns:
                    found[:, place] = _floats(table, candidate.columns[name], lowest=0.0)
            _check_sums(found)
            return found
        case _:
            raise ConfigurationError("On a log of others a candidate is of kind `fixed` or `columns`.")


def _check_arms(asked: Mapping[str, Any], names: Sequence[str]) -> None:
    unknown = sorted(set(asked) - set(names))
    if unknown:
        known = ", ".join(repr(name) for name in names[:10])
        raise ConfigurationError(f"The log never shows the candidate's arm {unknown[0]!r}; it shows {known}.")


def _check_sums(found: Floats) -> None:
    wrong = np.flatnonzero(np.abs(found.sum(axis=1) - 1.0) > 1e-6)
    if len(wrong):
        total = found[wrong[0]].sum()
        raise ConfigurationError(f"Row {wrong[0] + 1}: the candidate's probabilities sum to {total:g}, not 1.")


def _column(table: Table, name: str) -> Sequence[Any]:
    if name not in table:
        there = ", ".join(table) or "none"
        raise ConfigurationError(f"The log has no column {name!r}; it has {there}. It needs {', '.join(NEEDED)}.")
    values = table[name]
    if not len(values):
        raise ConfigurationError("The log has no rows.")
    return values


def _floats(table: Table, name: str, *, lowest: float = -np.inf) -> Floats:
    values = _column(table, name)
    for row, value in enumerate(values, start=1):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ConfigurationError(f"Row {row}: {name} is {value!r}, not a number.") from None
        if not abs(number) <= LARGEST or number < lowest:
            bounds = f"from {max(lowest, -LARGEST):g} to {LARGEST:g}"
            raise ConfigurationError(f"Row {row}: {name} is {value!r}, not a number {bounds}.")
    return np.array([float(value) for value in values])


def _propensities(table: Table) -> Floats:
    found = _floats(table, "propensity")
    wrong = np.flatnonzero((found < LEAST_PROPENSITY) | (found > 1.0))
    if len(wrong):
        raise ConfigurationError(
            f"Row {wrong[0] + 1}: propensity is {found[wrong[0]]:g}; it must be above 0, since the arm was drawn "
            f"({LEAST_PROPENSITY:g} at least), and at most 1."
        )
    return found


def _clusters(table: Table, n_rows: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    if "cluster" not in table:
        return np.arange(n_rows, dtype=np.int64)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(str(each), len(numbers)) for each in table["cluster"]], dtype=np.int64)


def _context(table: Table, n_rows: int) -> Floats:
    columns = [columns_of(np.array(table[name], dtype=object)) for name in table if name.startswith(CONTEXT)]
    for name, found in zip((name for name in table if name.startswith(CONTEXT)), columns, strict=True):
        wrong = np.flatnonzero(~(np.abs(found.reshape(n_rows, -1)) <= LARGEST).all(axis=1))
        if len(wrong):
            raise ConfigurationError(f"Row {wrong[0] + 1}: {name} is {table[name][wrong[0]]!r}, not a number to go by.")
    return np.column_stack(columns) if columns else np.zeros((n_rows, 0))
