"""Purchases in groups: by attack pattern, by innocent look-alike, and by what became of their money."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

from simulator.record import Minor, PurchaseRecord
from simulator.validators.curves import average_precision
from simulator.validators.measure import Share, share

PLAIN = "none"
"""The look-alike of those who look like nothing."""


class Pattern(Struct, frozen=True, kw_only=True):
    """One attack pattern and what became of it."""

    kind: Literal["fraud", "abuse"]
    purchases: int
    flagged: Share
    average_precision: float | None
    """Of this pattern's scores against those of honest purchases."""
    lost_minor: Minor
    """Settled and not paid back."""
    saved_minor: Minor
    """Turned down by a verdict."""


class LookAlike(Struct, frozen=True, kw_only=True):
    """Honest purchases with one attack-like circumstance."""

    flagged: Share
    turned_down: Share


class Money(Struct, frozen=True, kw_only=True):
    """What payment fraud came to, in minor units."""

    attempted_minor: Minor
    lost_minor: Minor
    """Settled and not paid back: it will come back as chargebacks."""
    saved_minor: Minor
    """Turned down by a verdict, or by the review or the challenge it asked for."""
    declined_by_issuer_minor: Minor
    """Turned down by the issuer: neither lost nor our merit."""
    open_minor: Minor
    """Undecided when the run ended."""
    honest_turned_down_minor: Minor
    """Honest purchases turned down: the price of what was saved."""


def is_honest(purchase: PurchaseRecord) -> bool:
    """Neither fraud nor abuse."""
    return not purchase.is_fraud and not purchase.is_abuse


def is_flagged(purchase: PurchaseRecord) -> bool:
    """Answered, and not approved."""
    return purchase.action not in (None, "approve")


def is_turned_down(purchase: PurchaseRecord) -> bool:
    """Refused in the end because of a verdict."""
    return is_flagged(purchase) and purchase.outcome == "refused"


def patterns_of(
    fraud: Sequence[PurchaseRecord], abuse: Sequence[PurchaseRecord], honest: Sequence[PurchaseRecord]
) -> dict[str, Pattern]:
    """By the name of the pattern."""
    groups = _grouped((each.pattern, each) for each in (*fraud, *abuse))
    return {name: _pattern(group, honest) for name, group in sorted(groups.items())}


def _pattern(group: Sequence[PurchaseRecord], honest: Sequence[PurchaseRecord]) -> Pattern:
    return Pattern(
        kind="fraud" if group[0].is_fraud else "abuse", purchases=len(group),
        flagged=share(sum(map(is_flagged, group)), len(group)), average_precision=average_precision((*group, *honest)),
        lost_minor=_sum(each for each in group if each.outcome == "settled"),
        saved_minor=_sum(each for each in group if is_turned_down(each)),
    )  # fmt: skip


def look_alikes_of(honest: Sequence[PurchaseRecord]) -> dict[str, LookAlike]:
    """By the circumstance; `none` is who looks like nothing."""
    groups = _grouped((each.look_alike or PLAIN, each) for each in honest)
    return {
        name: LookAlike(
            flagged=share(sum(map(is_flagged, group)), len(group)),
            turned_down=share(sum(map(is_turned_down, group)), len(group)),
        )
        for name, group in sorted(groups.items())
    }


def money_of(fraud: Sequence[PurchaseRecord], honest: Sequence[PurchaseRecord]) -> Money:
    """Sums over purchases."""
    return Money(
        attempted_minor=_sum(fraud), lost_minor=_sum(each for each in fraud if each.outcome == "settled"),
        saved_minor=_sum(each for each in fraud if is_turned_down(each)),
        declined_by_issuer_minor=_sum(each for each in fraud if each.outcome == "declined"),
        open_minor=_sum(each for each in fraud if each.outcome == "open"),
        honest_turned_down_minor=_sum(each for each in honest if is_turned_down(each)),
    )  # fmt: skip


def _grouped(pairs: Iterable[tuple[str, PurchaseRecord]]) -> dict[str, list[PurchaseRecord]]:
    groups: defaultdict[str, list[PurchaseRecord]] = defaultdict(list)
    for name, purchase in pairs:
        groups[name].append(purchase)
    return dict(groups)


def _sum(purchases: Iterable[PurchaseRecord]) -> Minor:
    return sum(each.amount_minor for each in purchases)
