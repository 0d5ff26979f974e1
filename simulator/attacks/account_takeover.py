"""Account takeover: a list of leaked passwords is tried, and what opens is looted.

Few devices and addresses try many accounts, and nearly every login fails. What opens is used soon after, often by
somebody else on a fresh device near the victim: e-mail or password are changed, tickets bought with the stored card of
an account of many years, and handed on within minutes.
"""

from simulator.attacks.pattern import Pattern

PATTERN = Pattern(
    name="account-takeover",
    kind="fraud",
    share=0.007,
    typical_purchases=5.0,
    tell=(
        "Failed logins in many accounts from few devices, then a new device in an old account, changed "
        "credentials, and tickets handed on within minutes."
    ),
    look_alikes=("forgot_password", "new_device", "traveller"),
)
