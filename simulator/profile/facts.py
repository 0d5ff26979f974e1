"""What the traffic looks like: each figure counted from the messages and the truth, beside what is published.

A figure is None where this past is too short or too small to show it.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, median, pstdev

from ibook.clock import to_us
from ibook.messages import FraudLabel, PurchaseRequested
from simulator.profile.observed import Observed
from simulator.truth import TransactionTruth

DAY_US = 86_400_000_000
SCRIPTED = ("card-testing", "scalper-ring")
"""Patterns that a script plays in bursts."""
TESTING = ("card-testing", "card-testing-slow")
BLOCK = 20
"""Purchases in a row that one variation of gaps is taken of: few enough for the rate to be about the same."""
SETTLED_DAYS = 140.0
"""Label days after which nothing more is heard of a purchase: the longest delay and its reversal."""
LEAST = 10
"""Purchases, labels or users that a share or mean must rest on."""


@dataclass(frozen=True)
class Figure:
    """One line of the profile. `of` counts it; `within` is where it must lie, None where nothing is known."""

    key: str
    what: str
    of: Callable[[Observed], float | None]
    form: str
    """How it is printed, as in str.format."""
    cited: str
    """What is published, and by whom."""
    within: tuple[float, float] | None = None


# --------------------------------------------------------------------------------------------------------- how much
def _share(observed: Observed, counts: Callable[[TransactionTruth], bool]) -> float | None:
    return _mean(counts(observed.truth_of(purchase)) for purchase in observed.purchases)


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return mean(found) if len(found) >= LEAST else None


def base_rate(observed: Observed) -> float | None:
    """Share of the purchases that is payment fraud."""
    return _share(observed, lambda truth: truth.is_fraud)


def fraud_outside_attacks(observed: Observed) -> float | None:
    """Share of the purchases that is payment fraud and belongs to no campaign."""
    return _share(observed, lambda truth: truth.is_fraud and truth.attack is None)


def abuse_rate(observed: Observed) -> float | None:
    """Share of the purchases that is abuse."""
    return _share(observed, lambda truth: truth.is_abuse)


def decline_rate(observed: Observed, counts: Callable[[TransactionTruth], bool]) -> float | None:
    """Share of the payments that the issuer declined, among those of some purchases."""
    return _mean(
        outcome.status == "declined"
        for outcome in observed.outcomes
        if outcome.status in ("authorised", "declined") and counts(observed.truth_of(outcome))
    )


def _is_honest(truth: TransactionTruth) -> bool:
    return not truth.is_fraud and not truth.is_abuse


def _honest(observed: Observed) -> list[PurchaseRequested]:
    return [purchase for purchase in observed.purchases if _is_honest(observed.truth_of(purchase))]


def _settled(observed: Observed) -> list[PurchaseRequested]:
    settled = observed.with_status("settled")
    return [purchase for purchase in _honest(observed) if purchase.transaction_id in settled]


# ------------------------------------------------------------------------------------------------------ who and when
def _orders(observed: Observed) -> Counter[str]:
    return Counter(purchase.user_id for purchase in _settled(observed))


def orders_per_user(observed: Observed) -> float | None:
    """Settled honest orders per user who has one."""
    return _mean(_orders(observed).values())


def repeat_buyers(observed: Observed) -> float | None:
    """Share of these users who have more than one."""
    return _mean(n > 1 for n in _orders(observed).values())


def tickets_per_order(observed: Observed) -> float | None:
    """Tickets of a settled honest order."""
    return _mean(purchase.n_tickets for purchase in _settled(observed))


def _lead_days(purchase: PurchaseRequested) -> float:
    assert purchase.starts_at is not None
    return (purchase.starts_at - purchase.occurred_at).total_seconds() / 86_400


def _ordinary(observed: Observed) -> list[PurchaseRequested]:
    """Settled honest orders of events whose whole sale lies in the past, and that are none of the rush."""
    if not observed.purchases:
        return []
    first, last = observed.purchases[0].occurred_at, observed.purchases[-1].occurred_at
    whole = {
        event_id for event_id, listing in observed.listings.items()
        if listing.on_sale_at >= first and listing.starts_at <= last and event_id not in observed.rushed
    }  # fmt: skip
    return [purchase for purchase in _settled(observed) if purchase.event_id in whole and purchase.starts_at]


def lead_days(observed: Observed) -> float | None:
    """Mean days from an order to the start of its event."""
    return _mean(_lead_days(purchase) for purchase in _ordinary(observed))


def _sold_within(observed: Observed, days: float) -> float | None:
    tickets = [(purchase.n_tickets, _lead_days(purchase) < days) for purchase in _ordinary(observed)]
    total = sum(n for n, _ in tickets)
    return sum(n for n, late in tickets if late) / total if len(tickets) >= LEAST else None


def variation_of_gaps(sequences: Iterable[Sequence[int]]) -> float | None:
    """Median coefficient of variation of the gaps between instants in a row; 1 for chance, 0 for a clock.

    Taken over blocks of at most `BLOCK` gaps, none of fewer than seven.
    """
    found = []
    for instants in sequences:
        for start in range(0, len(instants) - 7, BLOCK):
            block = instants[start : start + BLOCK + 1]
            gaps: list[int] = [after - before for before, after in pairwise(block)]
            if len(gaps) >= 7 and any(gaps):
                found.append(pstdev(gaps) / mean(gaps))
    return median(found) if found else None


def gaps_of_scripts(observed: Observed) -> float | None:
    """Variation of the gaps between the attempts of one scripted campaign."""
    campaigns: defaultdict[int, list[int]] = defaultdict(list)
    for purchase in observed.purchases:
        truth = observed.truth_of(purchase)
        if truth.attack is not None and truth.pattern in SCRIPTED:
            campaigns[truth.attack].append(truth.occurred_us)
    return variation_of_gaps(campaigns.values())


def gaps_of_people(observed: Observed) -> float | None:
    """Variation of the gaps between honest orders of one event."""
    events: defaultdict[str, list[int]] = defaultdict(list)
    for purchase in _honest(observed):
        events[purchase.event_id].append(to_us(purchase.occurred_at))
    return variation_of_gaps(events.values())


# -------------------------------------------------------------------------------------------------------------- risk
def _fraud_among(observed: Observed, counts: Callable[[PurchaseRequested], bool]) -> float | None:
    """Of those who want the tickets: a tester takes any, and one burst of tests would be all of the figure."""
    return _mean(
        truth.is_fraud
        for purchase in observed.purchases
        if counts(purchase) and (truth := observed.truth_of(purchase)).pattern not in TESTING
    )


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def risk_on_the_day(observed: Observed) -> float | None:
    """Fraud rate of orders in the event's last day against those at least 60 days before it."""
    near = _fraud_among(observed, lambda purchase: purchase.starts_at is not None and _lead_days(purchase) < 1)
    far = _fraud_among(observed, lambda purchase: purchase.starts_at is not None and _lead_days(purchase) >= 60)
    return _ratio(near, far)


def risk_of_concerts(observed: Observed) -> float | None:
    """Fraud rate of concerts against that of sports."""
    concerts = _fraud_among(observed, lambda purchase: purchase.category == "concerts")
    return _ratio(concerts, _fraud_among(observed, lambda purchase: purchase.category == "sports"))


# -------------------------------------------------------------------------------------------------------------- price
def elasticity(observed: Observed, of: Callable[[list[float]], float]) -> float | None:
    """Own-price elasticities at list price of all ticket types, summed up by `of`."""
    found = [demand.elasticity_at_list for demand in observed.demand]
    return of(found) if found else None


# -------------------------------------------------------------------------------------------------------------- labels
def _matured(observed: Observed, *sources: str) -> list[FraudLabel]:
    """Labels of these sources about purchases so old that all has been heard of them."""
    if not observed.purchases:
        return []
    span_us = int(SETTLED_DAYS * observed.label_day_seconds * 1e6)
    until_us = to_us(observed.purchases[-1].occurred_at) - span_us
    return [each for each in observed.labels if each.source in sources and to_us(each.effective_at) <= until_us]


def chargeback_days(observed: Observed, quantile: float) -> float | None:
    """A quantile of the label days from a purchase to its chargeback."""
    days = sorted(
        (label.occurred_at - label.effective_at).total_seconds() / observed.label_day_seconds
        for label in _matured(observed, "chargeback")
    )
    return days[int(quantile * (len(days) - 1))] if len(days) >= LEAST else None


def _share_of_disputed(observed: Observed, source: str) -> float | None:
    disputed = {label.transaction_id for label in _matured(observed, "chargeback")}
    also = {label.transaction_id for label in _matured(observed, source)}
    return _mean(transaction in also for transaction in sorted(disputed))


def friendly_disputes(observed: Observed) -> float | None:
    """Share of the chargebacks that came from the card holders who had bought."""
    return _mean(
        observed.truth_of(label).pattern in ("friendly", "friendly-fraud") for label in _matured(observed, "chargeback")
    )


def unlabelled_fraud(observed: Observed) -> float | None:
    """Share of the matured fraud that no label ever told of: declined, blocked, or not noticed."""
    if not observed.purchases:
        return None
    until_us = to_us(observed.purchases[-1].occurred_at) - int(SETTLED_DAYS * observed.label_day_seconds * 1e6)
    told = {label.transaction_id for label in observed.labels}
    return _mean(
        truth.transaction_id not in told
        for truth in map(observed.truth_of, observed.purchases)
        if truth.is_fraud and truth.occurred_us <= until_us
    )


FIGURES: tuple[Figure, ...] = (
    Figure("base_rate", "payment fraud among purchases", base_rate, "{:.2%}",
           "0.1 % of card payments (Stripe), below 1 % (StubHub), 3.5 % card-not-present (Vesta, IEEE-CIS)",
           (0.005, 0.04)),
    Figure("fraud_outside_attacks", "… outside campaigns", fraud_outside_attacks, "{:.2%}",
           "0.3–1 %, between Stripe's and the card-not-present rate (assumed)", (0.002, 0.012)),
    Figure("abuse_rate", "abuse among purchases", abuse_rate, "{:.2%}",
           "39.9 % of ticketing traffic is bad bots (Distil 2018); how many of them buy is not published"),
    Figure("declined_honest", "declined by the issuer, honest", lambda o: decline_rate(o, _is_honest), "{:.1%}",
           "5 % before an attack (card testing guides of payment providers)", (0.02, 0.08)),
    Figure("declined_in_testing", "… in card testing", lambda o: decline_rate(o, lambda t: t.pattern in TESTING),
           "{:.1%}", "40–90 % and more during an attack (the same)", (0.4, 0.95)),
    Figure("declined_in_takeovers", "… in account takeovers",
           lambda o: decline_rate(o, lambda t: t.pattern == "account-takeover"), "{:.1%}",
           "not published; the card is the account's own"),
    Figure("orders_per_user", "orders per user", orders_per_user, "{:.2f}", "not published for a shop"),
    Figure("repeat_buyers", "users with more than one", repeat_buyers, "{:.1%}", "not published for a shop"),
    Figure("tickets_per_order", "tickets per order", tickets_per_order, "{:.2f}",
           "3 per buyer in presales of stadium tours (Ticketmaster 2022)", (1.8, 3.2)),
    Figure("lead_days", "days from order to event, mean", lead_days, "{:.1f}",
           "18 in 2024, 25 in 2022 (Eventbrite, US music)", (10.0, 30.0)),
    Figure("last_week", "sold in the last week, ordinary events", lambda o: _sold_within(o, 7.0), "{:.1%}",
           "57 % (Eventbrite 2024), half (TicketLeap)", (0.35, 0.65)),
    Figure("last_3_days", "… in the last three days", lambda o: _sold_within(o, 3.0), "{:.1%}",
           "40–49 % (TicketLeap)", (0.2, 0.55)),
    Figure("gaps_of_scripts", "variation of gaps, scripts", gaps_of_scripts, "{:.2f}",
           "low: bots arrive evenly (bot reports); 1 is chance", (0.0, 0.85)),
    Figure("gaps_of_people", "variation of gaps, people", gaps_of_people, "{:.2f}",
           "about 1: independent arrivals", (0.85, 2.5)),
    Figure("risk_on_the_day", "fraud on the day, times that 60 days out", risk_on_the_day, "{:.1f}",
           "5 times (Riskified 2017)"),
    Figure("risk_of_concerts", "fraud at concerts, times that at sports", risk_of_concerts, "{:.1f}",
           "12 % turned down against 5 % (Riskified 2017)"),
    Figure("elasticity_median", "elasticity at list price, median", lambda o: elasticity(o, median), "{:.2f}",
           "inelastic in most studies of sport (Fort 2004, Krautmann & Berri 2007)", (-1.6, -0.6)),
    Figure("elasticity_lowest", "… strongest", lambda o: elasticity(o, min), "{:.2f}",
           "-2.0: no single number was found, so a range is drawn from", (-2.0, -0.3)),
    Figure("elasticity_highest", "… weakest", lambda o: elasticity(o, max), "{:.2f}", "-0.3: the same", (-2.0, -0.3)),
    Figure("chargeback_days_median", "days to a chargeback, median", lambda o: chargeback_days(o, 0.5), "{:.0f}",
           "30–90 in practice (guides of payment providers)", (20.0, 60.0)),
    Figure("chargeback_days_p95", "… 95th percentile", lambda o: chargeback_days(o, 0.95), "{:.0f}",
           "about 90, the card holder has 120 (card schemes)", (70.0, 120.0)),
    Figure("warned", "disputes with an early warning", lambda o: _share_of_disputed(o, "early_warning"), "{:.1%}",
           "about half, in 3–14 days (assumed)", (0.35, 0.65)),
    Figure("reversed", "… taken back", lambda o: _share_of_disputed(o, "reversal"), "{:.1%}", "1–3 % (assumed)",
           (0.0, 0.06)),
    Figure("friendly_disputes", "… by the buyer in person", friendly_disputes, "{:.1%}",
           "34 % of ticketing chargebacks (Merchant Risk Council, a thin source)"),
    Figure("unlabelled_fraud", "fraud that no label tells of", unlabelled_fraud, "{:.1%}",
           "all that is blocked (by construction), some that is not noticed"),
)  # fmt: skip
"""In the order they are printed. Ranges are ours: a published figure with room for another shop, or for chance."""


def count(observed: Observed) -> dict[str, float | None]:
    """Every figure by its key."""
    return {figure.key: figure.of(observed) for figure in FIGURES}
