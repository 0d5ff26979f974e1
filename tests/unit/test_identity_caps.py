"""One buyer counts for little in what prices learn, and which offers count does not depend on what sells."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.codec import pack_state, unpack_state
from ibook.identity_caps import DAY_US, CapRules, Changes, Counts, IdentityCaps, Tally, forgotten_us

RULES = CapRules(offers=3, sales=2, refunds=2, nameless_per_slot=4, nameless_share=0.1)


def caps() -> IdentityCaps:
    return IdentityCaps({}, RULES)


def offers(to: IdentityCaps, buyer: str, n: int, *, ticket_type: str = "stalls", slot: int = 0, at_us: int = 0) -> int:
    """How many of `n` offers counted."""
    return sum(to.offer("gala", ticket_type, buyer, slot=slot, at_us=at_us) for _ in range(n))


def test_a_buyer_counts_a_few_times_per_ticket_type_and_day() -> None:
    them = caps()
    assert offers(them, "bot", 1000) == RULES.offers
    assert offers(them, "bot", 1000, ticket_type="circle") == RULES.offers
    assert offers(them, "bot", 1000, at_us=DAY_US) == RULES.offers
    assert them.offer("match", "stalls", "bot", slot=0, at_us=DAY_US)
    assert set(them.beyond) == {"offers"}


def test_a_late_message_does_not_open_yesterday_again() -> None:
    them = caps()
    assert offers(them, "bot", 9, at_us=DAY_US) == RULES.offers
    assert offers(them, "bot", 9, at_us=DAY_US - 1) == 0


def test_a_bot_that_names_nobody_counts_for_a_share_of_those_that_name_a_buyer() -> None:
    them = caps()
    named = sum(offers(them, f"buyer {n}", 1, slot=n) for n in range(200))
    nameless = sum(offers(them, "", 10, slot=n) for n in range(200, 400))
    assert named == 200
    assert nameless == RULES.nameless_share * named


def test_a_shop_that_never_names_a_buyer_learns_from_a_few_offers_of_every_slot() -> None:
    them = caps()
    assert [offers(them, "", 100, slot=slot) for slot in range(3)] == [RULES.nameless_per_slot] * 3


def test_every_payer_of_a_sale_needs_room_for_it() -> None:
    them = caps()
    bought = [them.sale("gala", [f"account {n}", "card", f"device {n}"], at_us=0) for n in range(5)]
    assert bought == [True, True, False, False, False]
    assert them.sale("gala", ["account 4", "other card", "device 4"], at_us=0), "a refused sale takes no room"
    assert them.sale("gala", ["account 0", "card", "device 0"], at_us=DAY_US)


def test_who_returns_tickets_again_and_again_does_not_count_any_more() -> None:
    them = caps()
    for day in range(RULES.refunds):
        assert them.sale("gala", ["bot", "bot"], at_us=day * DAY_US)
        them.refund("gala", ["bot", "bot"], at_us=day * DAY_US)
    later = 20 * DAY_US
    assert not them.sale("gala", ["bot"], at_us=later)
    assert offers(them, "bot", 5, at_us=later) == 0
    assert them.sale("match", ["bot"], at_us=later), "at another event it does"
    assert set(them.beyond) == {"refunds"}


def test_buying_and_returning_within_a_day_gives_no_room_back() -> None:
    them = IdentityCaps({}, CapRules(sales=2, refunds=100))
    counted = 0
    for _ in range(50):
        if them.sale("gala", ["bot"], at_us=0):
            counted += 1
            them.refund("gala", ["bot"], at_us=0)
    assert counted == 2


@given(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.integers(0, 3)), max_size=60), st.randoms())
def test_nobody_counts_beyond_the_caps_in_whatever_order(asked: list[tuple[str, int]], random: Random) -> None:
    random.shuffle(asked)
    them, counted = caps(), dict.fromkeys(("", "a", "b", "c"), 0)
    for name, slot in asked:
        counted[name] += them.offer("gala", "stalls", name, slot=slot, at_us=0)
    assert all(counted[name] <= RULES.offers for name in "abc")
    assert counted[""] <= RULES.nameless_per_slot * 4


def test_counts_that_are_stored_between_the_steps_decide_the_same() -> None:
    kept: dict[str, bytes] = {}

    def read(key: str) -> Counts | None:
        found: Counts | None = unpack_state(kept[key], Counts) if key in kept else None
        return found

    random, at_once = Random(3), caps()
    for step in range(300):
        buyer, slot, at_us = random.choice(["", "a", "b"]), step // 10, step * DAY_US // 50
        changes = Changes(read)
        stored = IdentityCaps(changes, RULES).offer("gala", "stalls", buyer, slot=slot, at_us=at_us)
        kept |= {key: pack_state(counts) for key, counts in changes.changed.items() if counts}
        assert stored == at_once.offer("gala", "stalls", buyer, slot=slot, at_us=at_us)


@pytest.mark.parametrize(("refunds", "days"), [(0, 2), (1, 32)])
def test_counts_are_forgotten_when_they_decide_nothing_any_more(refunds: int, days: int) -> None:
    dues = {forgotten_us(f"{n}", Tally(day=100, refunds=refunds), 30 * 86_400.0) for n in range(50)}
    assert all((100 + days) * DAY_US <= due < (101 + days) * DAY_US for due in dues)
    assert len(dues) > 40, "spread over the day"
