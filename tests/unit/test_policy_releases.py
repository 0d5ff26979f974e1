"""The timeline of policies: which one decides, what is gone back to, and what is refused."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from ibook.clock import ManualClock
from ibook.edges.policy_in_force import PolicyInForce
from ibook.errors import ConfigurationError
from ibook.messages import PolicyConfirmed, PolicyReleased, PolicyReleases, PolicyTakenBack
from ibook.policy_releases import (
    MAX_TEXT_BYTES,
    deciding,
    policy_of,
    released,
    text_to_go_back_to,
    word_of_guard,
)
from ibook.rules import DEFAULT_POLICY_PATH, load_policy

PACKAGED = DEFAULT_POLICY_PATH.read_text()
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def text(version: str, expires: str = "") -> str:
    changed = PACKAGED.replace('version = "4"', f'version = "{version}"')
    return changed.replace('id = "card_shared"', f'id = "card_shared"\nexpires = {expires}') if expires else changed


def release(name: str, **changes: str) -> PolicyReleased:
    made = released(text(name), "test", message_id=name, at=NOON)
    return msgspec.structs.replace(made, **changes)


A, B, C = (release(version) for version in "abc")
BROKEN = release("d", sha256="0" * 64)


def test_the_newest_usable_release_decides() -> None:
    assert deciding([]) is None
    assert deciding([A, B]) is B
    assert deciding([A, B, BROKEN]) is B
    assert deciding([BROKEN]) is None


def test_a_rollback_goes_to_what_decided_before() -> None:
    assert text_to_go_back_to([A, B]) == A.text
    assert text_to_go_back_to([A, B, BROKEN]) == A.text
    assert text_to_go_back_to([A, B, B]) == A.text
    assert text_to_go_back_to([A]) == PACKAGED
    assert text_to_go_back_to([A, B, C], A.version) == A.text
    assert text_to_go_back_to([A, B], load_policy().version) == PACKAGED


@pytest.mark.parametrize(("releases", "version"), [([], None), ([A], "z+0"), ([A, BROKEN], BROKEN.version)])
def test_there_must_be_something_to_go_back_to(releases: list[PolicyReleased], version: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"decided before|was released"):
        text_to_go_back_to(releases, version)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"text": PACKAGED}, "not the text"),
        ({"sha256": "0" * 64}, "not the text"),
        ({"version": "a+0"}, "calls itself"),
    ],
)
def test_a_release_must_be_what_it_says(changes: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        policy_of(release("a", **changes))


def test_a_policy_that_no_message_holds_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="shorten its lists"):
        released("#" * (MAX_TEXT_BYTES + 1), "test", message_id="m", at=NOON)


def test_a_process_takes_the_newest_usable_release_and_keeps_it_when_a_bad_one_comes() -> None:
    following = PolicyInForce()
    assert following.policy.version == load_policy().version
    following.apply([A, B, BROKEN])
    assert (following.policy.version, following.refused) == (B.version, 1)
    following.apply([BROKEN])
    assert (following.policy.version, following.refused) == (B.version, 1), "it was refused before"
    following.apply([msgspec.structs.replace(BROKEN, message_id="d again")])
    assert (following.policy.version, following.refused) == (B.version, 2)
    assert "not the text" in following.last_refusal
    following.apply([msgspec.structs.replace(A, policy="prices", message_id="prices")])
    assert following.policy.version == B.version
    following.apply([A])
    assert following.policy.version == B.version, "the broker delivered it once more"
    following.apply([msgspec.structs.replace(A, message_id="a again")])
    assert following.policy.version == A.version


def test_a_process_tells_which_policy_decides_how_much_it_has_read_and_why_the_newest_does_not() -> None:
    following = PolicyInForce()
    assert following.report() == {}, "nothing was read yet"
    following.apply([A, B])
    assert following.report() == {
        "policy": B.version, "policies": 2, "policy_refused": "", "policy_from": "released"
    }  # fmt: skip
    following.apply([BROKEN])
    report = following.report()
    assert (report["policy"], report["policies"]) == (B.version, 3)
    assert "not the text" in report["policy_refused"]


# --------------------------------------------------------------------------------------------------------------- guard
def former(following: PolicyInForce) -> str | None:
    """Whom the policy in force is compared with."""
    compared = following.in_force.former
    return compared.version if compared else None


def test_a_policy_that_was_taken_back_gives_way_to_the_one_before_it() -> None:
    back = word_of_guard(PolicyTakenBack, B, "it blocks everybody", NOON)
    assert deciding([A, B, back, back]) is A
    assert deciding([B, back]) is None
    assert text_to_go_back_to([A, B, back]) == PACKAGED
    assert text_to_go_back_to([A, B, back], B.version) == B.text, "a person may ask for it by name"


@pytest.mark.parametrize("steps", [[[A], [B]], [[A, B]]], ids=["one by one", "at once"])
def test_a_new_policy_is_compared_with_the_one_before_it_until_anybody_confirms_it(
    steps: list[list[PolicyReleases]],
) -> None:
    following = PolicyInForce()
    for step in steps:
        following.apply(step)
    assert (following.policy.version, former(following)) == (B.version, A.version)
    following.apply([word_of_guard(PolicyConfirmed, B, "it does well", NOON)])
    assert (following.policy.version, former(following)) == (B.version, None)


def test_the_first_policy_is_compared_with_the_packaged_one_and_a_rollback_with_none() -> None:
    following = PolicyInForce()
    following.apply([A])
    assert former(following) == load_policy().version
    following.apply([B, msgspec.structs.replace(A, message_id="a again")])
    assert (following.policy.version, former(following)) == (A.version, None)
    following.apply([msgspec.structs.replace(C, guarded=False)])
    assert (following.policy.version, former(following)) == (C.version, None)


def test_a_guard_takes_a_policy_back_at_once_and_says_so_once() -> None:
    following = PolicyInForce()
    following.apply([A, B])
    for _ in range(2):
        following.take_back(B, "it blocks everybody")
    assert (following.policy.version, former(following)) == (A.version, load_policy().version)
    following.apply([])
    assert following.policy.version == A.version, "before and after the others know of it"
    assert [(each.release_id, each.released_by, each.why) for each in following._untold] == [
        (B.message_id, "guard", "it blocks everybody")
    ]
    late = PolicyInForce()
    late.apply([A, B, *following._untold])
    assert late.policy.version == A.version


def test_rules_that_expire_while_a_policy_decides_are_counted() -> None:
    clock = ManualClock(NOON)
    following = PolicyInForce(clock=clock)
    following.apply([released(text("e", "2026-03-15"), "test", message_id="e", at=NOON)])
    assert following.expired == 0
    clock.advance(timedelta(hours=12))
    following.apply([])
    assert following.expired == 1
