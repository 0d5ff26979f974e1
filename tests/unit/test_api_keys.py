"""Keys are found by what they are, kept as hashes, and a file of them is read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibook.api_keys import SCOPES, KeyRing, new_key, parse_keys
from ibook.errors import ConfigurationError
from ibook.rate_limit import RateLimit

KEY, KNOWN = new_key("shop", ["price:read", "quote:write"], per_second=500)
RING = KeyRing([KNOWN])


def test_a_line_of_the_file_stands_for_its_key_and_does_not_hold_it() -> None:
    assert parse_keys(f"# the shop\n\n{KNOWN.line()}\n").find(KEY) == KNOWN
    assert KEY.split("_", 2)[2] not in KNOWN.line()
    assert KNOWN.per_second == 500


def test_keys_are_new_each_time() -> None:
    assert new_key("shop", ["admin"])[0] != new_key("shop", ["admin"])[0]


@given(st.text(max_size=80) | st.text(max_size=60).map(lambda text: f"ibook_shop_{text}"))
def test_what_we_never_made_is_no_key(presented: str) -> None:
    assert RING.find(presented) is None


def test_changing_any_character_makes_it_another_key() -> None:
    for position, letter in enumerate(KEY):
        other = "A" if letter != "A" else "B"
        assert RING.find(KEY[:position] + other + KEY[position + 1 :]) is None


def test_a_key_does_what_its_scopes_say_and_admin_does_all() -> None:
    assert [scope for scope in SCOPES if KNOWN.allows(scope)] == ["price:read", "quote:write"]
    assert all(new_key("boss", ["admin"])[1].allows(scope) for scope in SCOPES)


HASH = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "shop", "shop admin", f"shop root {HASH}", f"shop  {HASH}", f"Shop admin {HASH}",
     "shop admin sha256:00", f"shop admin {HASH} fast", f"shop admin {HASH} 0/s", f"shop admin {HASH} 5/s more",
     f"shop admin {HASH}\nshop admin {HASH}", f"{KEY} admin {HASH}", f"shop {KEY} {HASH}"],
)  # fmt: skip
def test_a_file_that_says_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_keys(text)


def test_a_key_put_where_its_hash_belongs_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_keys(f"shop admin {KEY}")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(("key_id", "scopes"), [("", ["admin"]), ("a_b", ["admin"]), ("a", []), ("a", ["all"])])
def test_a_key_without_a_name_or_scope_is_not_made(key_id: str, scopes: list[str]) -> None:
    with pytest.raises(ConfigurationError):
        new_key(key_id, scopes)


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 20))
def test_no_second_grants_more_than_the_rate_and_its_burst(times: list[float], per_second: int) -> None:
    limit = RateLimit()
    granted = [at for at in sorted(times) if limit.wait_seconds("k", per_second, now=at) == 0]
    for start in granted:
        within = sum(start <= at <= start + 1 for at in granted)
        assert within <= 2 * per_second


@given(st.integers(1, 50), st.integers(1, 30))
def test_after_the_wait_it_is_granted(per_second: int, asked: int) -> None:
    limit, now = RateLimit(), 0.0
    for _ in range(asked):
        now += limit.wait_seconds("k", per_second, now=now) * (1 + 1e-9)
    wait = limit.wait_seconds("k", per_second, now=now)
    assert wait == 0 or limit.wait_seconds("k", per_second, now=now + wait * (1 + 1e-9)) == 0


def test_one_key_that_asks_too_often_takes_nothing_from_another() -> None:
    limit = RateLimit()
    assert [bool(limit.wait_seconds("a", 1.0, now=0.0)) for _ in range(3)] == [False, True, True]
    assert limit.wait_seconds("b", 1.0, now=0.0) == 0
