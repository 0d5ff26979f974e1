"""What `ibook pricing report` says of what it counts and what it leaves out."""

from cli.pricing_report import Standing, as_json, notes, sentences, standing_of
from ibook.slot_book import SlotBook
from tests.unit.test_slot_book import GRACE, NOW, SETTLED_AT, SHARES, quote, reward


def standing(book: SlotBook) -> Standing:
    return standing_of(book, None, SHARES, since=NOW, now=SETTLED_AT, grace=GRACE, whole=SETTLED_AT, within=0.05)


def test_prices_that_do_not_count_and_slots_that_are_no_part_are_told() -> None:
    book = SlotBook(shown={})
    for number in range(3):
        book.issue(quote(quote_id=f"q{number}"))
    book.issue(quote(slot=2, decided_by="", total_propensity=None))
    book.issue(quote(slot=3, decided_by="bandit", quote_id="b"))
    book.reward(reward(0, 1, 1), 0)
    found = standing(book)
    told = " ".join(sentences(found))
    assert "2 settled slots of 1 events with 1 offers" in told
    assert "Left out are slots at list price, by order or for want of a policy (1)." in told
    assert "Of 4 prices shown 3 do not count as offers" in told
    assert "Bandit: too early to say; nothing was sold to tell by" in " ".join(notes(found))
    assert as_json(found)["shown"] == {"list_price": 3, "bandit": 1}


def test_where_every_price_was_by_order_the_report_says_why_it_has_nothing() -> None:
    book = SlotBook(shown={})
    book.issue(quote(decided_by="", total_propensity=None))
    told = " ".join(sentences(standing(book)))
    assert "There is nothing to report yet" in told
    assert "by order or for want of a policy (1)" in told
