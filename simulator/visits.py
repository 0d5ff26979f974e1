"""What passes between a visitor and the shop, hidden nature included."""

from dataclasses import dataclass
from typing import Literal

from simulator.catalogue import Event, Ticket
from simulator.people import Address, Card, User

HONEST = "honest"
PaymentResult = Literal["paid", "declined", "refused", "sold_out"]
"""What a buyer sees: paid, turned down by the issuer, turned down by the shop, or no seats left."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody at the shop under an account, on a device, behind an address."""

    user: User
    device_id: str
    address: Address


@dataclass(frozen=True, slots=True)
class Offer:
    """A price shown to a visitor. Without `quote_id` it is the list price, shown because nobody answered."""

    price_minor: int
    quote_id: str | None = None
    expires_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nature:
    """The hidden truth about a purchase, and what will come of it; drawn before the shop decides."""

    is_fraud: bool = False
    """A payment that a card holder would dispute."""
    is_abuse: bool = False
    """Against the shop's terms, but paid for: scalping, hoarding, refund abuse. It never becomes a chargeback."""
    is_evident: bool = True
    """Whether a reviewer who looks closely can see fraud; a friendly fraudster buys as everybody does."""
    pattern: str = HONEST
    """`honest`, `friendly` (an honest buyer who disputes for once), or the name of a pattern of fraud or abuse."""
    look_alike: str = ""
    """Which attack-like circumstance an honest purchase has; empty for most."""
    attack: int | None = None
    """Number of the campaign it belongs to."""
    decline_code: str = ""
    """The issuer's reason for declining it; empty when it authorises."""
    passes_challenge: bool = True
    disputes: bool = False
    """The card holder will report it, if it settles."""
    refunds: bool = False
    """The buyer will ask for the money back, if it settles …"""
    refunds_late: bool = False
    """… and waits with it until shortly before the event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A visitor presses "pay". Seats are taken from `hold_id`, or on the spot when there is none."""

    visitor: Visitor
    card: Card
    event: Event
    ticket: Ticket
    n_tickets: int
    offer: Offer
    nature: Nature
    hold_id: str | None = None
