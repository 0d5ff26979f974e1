"""Card testing: stolen numbers are tried on cheap tickets to find out which ones still work.

In a burst a script works through its list within a minute or two, on a handful of devices and addresses. Low and slow
it takes hours, one card at a time over more devices and a wider network, to stay under every count per hour. Either way
the numbers come from few issuers and most are declined.
"""

from simulator.attacks.pattern import Pattern

BURST = Pattern(
    name="card-testing",
    kind="fraud",
    share=0.008,
    typical_purchases=31.0,
    tell="Dozens of cards on a handful of devices within a minute or two, most of them declined, on cheap seats.",
    look_alikes=("group", "office_ip", "family_device", "several_cards"),
)
SLOW = Pattern(
    name="card-testing-slow",
    kind="fraud",
    share=0.007,
    typical_purchases=16.0,
    tell="One new card of the same few issuers after the other from one network over hours, most of them declined.",
    look_alikes=("office_ip", "several_cards", "new_user"),
)
