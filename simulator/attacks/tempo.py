"""How fast attacks go, in life and in a demo of a minute."""

from dataclasses import dataclass

Span = tuple[float, float]
"""Smallest and largest; drawn evenly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tempo:
    """Seconds between the steps of an attack; a minute's demo needs them shorter than a day's history."""

    burst_gap: Span = (0.5, 4.0)
    slow_gap: Span = (60.0, 600.0)
    stuffing_gap: Span = (0.3, 3.0)
    takeover_gap: float = 25.0
    """Median between credential change and purchase, and between purchase and what is done with the tickets."""
    resale_gap: float = 40_000.0
    """Median between opening an account and its use by somebody else, who bought the password."""
    ring_gap: Span = (2.0, 7.0)
    hold_seconds: float = 300.0
    """How long a bot keeps seats before the shop would take them back."""
    order_gap: float = 5_000.0
    """Median between two customers' orders."""
    lie_low: float = 900.0
    """Median pause of a ring that has been stopped and changes something."""


LIVE_TEMPO = Tempo(
    burst_gap=(0.15, 0.7), slow_gap=(2.0, 12.0), stuffing_gap=(0.05, 0.4), takeover_gap=3.0, resale_gap=3.0,
    ring_gap=(0.2, 0.8), hold_seconds=5.0, order_gap=4.0, lie_low=2.0,
)  # fmt: skip
