"""A scalper ring buys out one hot event with many accounts, each of them below every limit per account.

The cards are virtual and paid for: nothing is declined much, nothing is disputed, and it is abuse rather than fraud.
What the accounts share is behind them: one or two issuers, one provider's networks, a rack of devices, one script's
timing.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="scalper-ring",
    kind="abuse",
    share=0.006,
    typical_purchases=30.0,
    tell=(
        "Many accounts with cards of one issuer, on a few networks and devices, each buying nearly the "
        "most it may of one event within minutes."
    ),
    look_alikes=("fan_club", "group", "office_ip"),
)
