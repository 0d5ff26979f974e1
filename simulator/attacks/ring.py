"""A ring at work, and what it does when stopped: it changes cards, devices, addresses or pace, and gives up at last."""

from dataclasses import dataclass
from typing import Literal

from simulator.attacks.craft import Count, Craft, Issuer
from simulator.people import Address
from simulator.scene import dwell
from simulator.shop import Paid

Change = Literal["cards", "devices", "addresses", "pace"]
SLOWER = 2.0
"""How much longer a ring waits between attempts once it changes its pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaction:
    """How setbacks are taken. All assumed: nobody publishes how patient fraudsters are."""

    after: int
    """Setbacks in a row, refused by the shop or declined by the issuer, before something is changed."""
    changes: tuple[Change, ...]
    """What is changed, one after the other, and from the first again."""
    gives_up_after: int
    """Changes that are made in vain before the ring is gone; one success and it has all its patience again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """How much a ring has to work with at any time."""

    devices: Count
    addresses: Count
    """In each of its networks."""
    networks: int = 1
    issuers: Count = (1, 1)


class Ring:
    """What a campaign works with now. It hears what becomes of each purchase, and reacts."""

    def __init__(self, craft: Craft, attack: int | None, means: Means, reaction: Reaction) -> None:
        self._craft, self.attack, self._means, self._reaction = craft, attack, means, reaction
        self.devices = self._new_devices()
        self.addresses = self._new_addresses()
        self.issuers = craft.issuers(means.issuers)
        self.pace = 1.0
        """How many times longer than at first it waits between attempts."""
        self.has_given_up = False
        self._setbacks = self._in_vain = 0
        self._lies_low = False

    def device(self) -> str:
        """One of its devices."""
        return self._craft.rng.choice(self.devices)

    def address(self) -> Address:
        """One of its addresses."""
        return self._craft.rng.choice(self.addresses)

    def issuer(self) -> Issuer:
        """Whose card comes next."""
        return self._craft.rng.choice(self.issuers)

    def pause(self, seconds: float) -> float:
        """Seconds until the next attempt, where `seconds` would be the ring's first pace."""
        seconds *= self.pace
        if self._lies_low:
            self._lies_low = False
            seconds += dwell(self._craft.rng, self._craft.tempo.lie_low)
        return seconds

    def heard(self, paid: Paid) -> None:
        """What became of a purchase; that seats were sold out means nothing."""
        if paid.result == "paid":
            self._setbacks = self._in_vain = 0
        elif paid.result != "sold_out":
            self._setbacks += 1
            if self._setbacks >= self._reaction.after:
                self._react()

    def _react(self) -> None:
        if self.has_given_up:
            return
        self._setbacks = 0
        if self._in_vain >= self._reaction.gives_up_after:
            self.has_given_up = True
            self._note("gave up")
            return
        change = self._reaction.changes[self._in_vain % len(self._reaction.changes)]
        self._in_vain += 1
        self._lies_low = True
        self._change(change)
        self._note(f"other {change}" if change != "pace" else "slower")

    def _change(self, change: Change) -> None:
        if change == "cards":
            self.issuers = self._craft.issuers(self._means.issuers, but_not=self.issuers)
        elif change == "devices":
            self.devices = self._new_devices()
        elif change == "addresses":
            self.addresses = self._new_addresses()
        else:
            self.pace *= SLOWER

    def _note(self, what: str) -> None:
        if self.attack is not None:
            self._craft.scene.truth.reacted(self.attack, self._craft.scene.engine.now_us, what)

    def _new_devices(self) -> tuple[str, ...]:
        return tuple(self._craft.device() for _ in range(self._craft.some(self._means.devices)))

    def _new_addresses(self) -> tuple[Address, ...]:
        networks = (self._craft.network(self._craft.some(self._means.addresses)) for _ in range(self._means.networks))
        return tuple(address for network in networks for address in network)
