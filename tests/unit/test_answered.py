"""A repeat is told from a conflict, and memory is bounded."""

from ibook.answered import Answered, digest_of
from tests.traffic import purchase


def test_a_repeat_with_a_new_message_id_asks_for_the_same() -> None:
    assert digest_of(purchase("t1")) == digest_of(purchase("t1", message_id="another"))


def test_another_amount_asks_for_something_else() -> None:
    assert digest_of(purchase("t1")) != digest_of(purchase("t1", amount_minor=1))


def test_first_answer_stays() -> None:
    answered = Answered()
    first, other = digest_of(purchase("t1")), digest_of(purchase("t1", amount_minor=1))
    assert answered.known("t1", first) == "new"
    answered.add("t1", first, 7)
    answered.add("t1", other, 9)
    assert answered.known("t1", first) == "answered"
    assert answered.known("t1", other) == "conflict"


def test_a_redelivery_is_told_from_the_shops_repeat_by_its_offset() -> None:
    answered = Answered()
    answered.add("t1", b"digest", 7)
    answered.add("t1", b"digest", 9)
    assert answered.is_redelivery("t1", 7)
    assert not answered.is_redelivery("t1", 9)
    assert not answered.is_redelivery("t2", 7)


def test_an_unreadable_purchase_matches_whatever_was_answered() -> None:
    answered = Answered()
    answered.add("t1", digest_of(purchase("t1")), 1)
    assert answered.known("t1", b"") == "answered"
    answered.add("t2", b"", 2)
    assert answered.known("t2", digest_of(purchase("t2"))) == "answered"


def test_the_oldest_transactions_are_forgotten_first() -> None:
    answered = Answered(limit=3)
    for number in range(5):
        answered.add(f"t{number}", b"digest", number)
    assert [answered.known(f"t{number}", b"digest") for number in range(5)] == ["new", "new", *["answered"] * 3]
