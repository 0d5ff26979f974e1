"""What users do before and after paying: topic `ticket-activity`."""

from typing import Literal

from ibook.messages.base import Id, Message, Seats


class Activity(Message, frozen=True, kw_only=True):
    """Something a user did before or after paying. Topic `ticket-activity`, key `user_id`."""

    user_id: Id
    device_id: Id
    ip: Id


class EventViewed(Activity, frozen=True, kw_only=True, tag="event_viewed.v1"):
    """A buyer looked at an event's page."""

    event_id: Id


class SeatsHeld(Activity, frozen=True, kw_only=True, tag="seats_held.v1"):
    """Seats were put into a cart."""

    event_id: Id
    hold_id: Id
    n_seats: Seats


class SeatsReleased(Activity, frozen=True, kw_only=True, tag="seats_released.v1"):
    """A hold ended without a purchase."""

    event_id: Id
    hold_id: Id
    n_seats: Seats


class LoginAttempted(Activity, frozen=True, kw_only=True, tag="login_attempted.v1"):
    """Somebody tried to log in as this user."""

    succeeded: bool


class AccountChanged(Activity, frozen=True, kw_only=True, tag="account_changed.v1"):
    """The account was opened or one of its credentials changed."""

    change: Literal["opened", "email", "password", "phone"]


class TicketsTransferred(Activity, frozen=True, kw_only=True, tag="tickets_transferred.v1"):
    """Tickets of a paid order went to somebody else."""

    event_id: Id
    transaction_id: Id
    n_tickets: Seats


TicketActivity = EventViewed | SeatsHeld | SeatsReleased | LoginAttempted | AccountChanged | TicketsTransferred
