"""Account takeover: a list of leaked passwords is tried, and what opens is looted.

Few devices and addresses try many accounts, and nearly every login fails. What opens is used soon after, or sold and
used within a day or two on a fresh device near the victim: e-mail or password are changed, tickets bought with the
stored card of an account of many years, and handed on within minutes.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from simulator.attacks.craft import Count, Craft, Odds
from simulator.attacks.pattern import Pattern
from simulator.attacks.ring import Means, Reaction, Ring
from simulator.engine import Pause, Process
from simulator.people import Address, Card
from simulator.scene import dwell
from simulator.visits import Visitor

PATTERN = Pattern(
    name="account-takeover",
    kind="fraud",
    share=0.0065,
    typical_purchases=4.3,
    tell=(
        "Failed logins in many accounts from few devices, then a new device in an old account, changed "
        "credentials, and tickets handed on within minutes."
    ),
    look_alikes=("forgot_password", "new_device", "traveller", "gift_buyer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How hard it is tried, and how hard to see."""

    tries: Count
    """Accounts whose leaked password is tried."""
    opens: float
    """Of them, those it opens. Real lists open far fewer; nobody needs the thousands that fail."""
    guesses: float
    """Of the opened, those where other leaked passwords were tried first."""
    means: Means
    same_hands: float
    """Whoever opened the account loots it too, from the same device and address; else it was passed on."""
    near_victim: float
    """Who loots comes from the victim's country."""
    changes_account: float
    again: float
    """Buys a second time."""
    hands_on: float
    odds: Odds
    reaction: Reaction


STRENGTH = Strength(
    tries=(25, 60),
    opens=0.09,
    guesses=0.3,
    means=Means(devices=(2, 5), addresses=(2, 6)),
    same_hands=0.25,
    near_victim=0.7,
    changes_account=0.4,
    again=0.25,
    hands_on=0.6,
    odds=Odds(declines=0.08, disputes=0.8, passes=0.15),
    reaction=Reaction(after=3, changes=("devices", "addresses", "pace"), gives_up_after=2),
)
"""Assumed: about three quarters of the loot is fetched by hands that no failed login points to."""


def begin(craft: Craft, attack: int | None) -> Process:
    """Works through a list of leaked passwords."""
    ring = Ring(craft, attack, STRENGTH.means, STRENGTH.reaction)
    for _ in range(craft.some(STRENGTH.tries)):
        owner, cards = craft.owner()
        intruder = Visitor(owner.user, ring.device(), ring.address())
        if craft.chance(STRENGTH.opens):
            craft.start(_loot(craft, ring, intruder, owner.address, cards[0]))
        else:
            craft.scene.storefront.log_in(intruder, succeeded=False)
        yield ring.pause(craft.rng.uniform(*craft.tempo.stuffing_gap))
        if ring.has_given_up:
            return


def _loot(craft: Craft, ring: Ring, intruder: Visitor, home: Address, stored: Card) -> Process:
    yield from _open(craft, intruder)
    if not craft.chance(STRENGTH.same_hands):
        intruder = yield from _pass_on(craft, intruder, home)
    yield dwell(craft.rng, 2.0)
    if craft.chance(STRENGTH.changes_account):
        craft.scene.storefront.change_account(intruder, craft.rng.choice(("email", "password", "phone")))
    yield dwell(craft.rng, craft.tempo.takeover_gap, spread=1.0)
    for _ in range(2 if craft.chance(STRENGTH.again) else 1):
        order = craft.loot()
        order = replace(order, n_tickets=max(2, order.n_tickets))
        paid = yield from craft.buy(intruder, stored, order, craft.nature(PATTERN, ring.attack, STRENGTH.odds))
        ring.heard(paid)
        if craft.chance(STRENGTH.hands_on):
            yield from craft.hand_on(intruder, order, paid)


def _open(craft: Craft, intruder: Visitor) -> Generator[Pause, Any, None]:
    """Log in, at once or with one of the other passwords that leaked."""
    for _ in range(craft.some((1, 3)) if craft.chance(STRENGTH.guesses) else 0):
        craft.scene.storefront.log_in(intruder, succeeded=False)
        yield dwell(craft.rng, 1.5)
    craft.scene.storefront.log_in(intruder, succeeded=True)


def _pass_on(craft: Craft, intruder: Visitor, home: Address) -> Generator[Pause, Any, Visitor]:
    """Somebody else, who bought the password, comes in hours or days later."""
    address = craft.address(home.country if craft.chance(STRENGTH.near_victim) else None)
    yield dwell(craft.rng, craft.tempo.resale_gap, spread=1.0)
    buyer = replace(intruder, device_id=craft.device(), address=address)
    craft.scene.storefront.log_in(buyer, succeeded=True)
    return buyer
