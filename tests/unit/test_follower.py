"""A thread that follows topics, where no Kafka answers and where what it gives its records to fails."""

import pytest

from ibook.edges import follower, kafka
from ibook.edges.follower import Follower
from ibook.settings import Settings
from infra.local.processes import free_port
from tests.workers import wait_until


def nobody() -> Settings:
    """Settings of a Kafka that is not there."""
    return Settings(kafka_bootstrap=f"127.0.0.1:{free_port()}")


def test_a_kafka_that_is_away_is_told_in_a_sentence_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.5)  # nobody will answer
    told: list[str] = []
    following = Follower(nobody(), "model-releases", take=print, poll_seconds=0.1, trouble=told.append)
    following.start()
    try:
        wait_until(lambda: len(told) > 1, 60, "it to be tried twice")
    finally:
        following.close()
    assert all("Kafka" in sentence and sentence.endswith(".") for sentence in told)
    assert not following.caught_up.is_set()


def test_the_thread_survives_what_nobody_foresaw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "RETRY_SECONDS", 0.01)
    calls: list[str] = []

    def explode(self: Follower) -> None:
        calls.append("again")
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Follower, "_follow", explode)
    following = Follower(nobody(), "model-releases", take=print, poll_seconds=0.1)
    following.start()
    try:
        wait_until(lambda: len(calls) > 2, 20, "it to go on")
    finally:
        following.close()


def test_one_that_was_never_started_can_be_closed() -> None:
    Follower(nobody(), "model-releases", take=print, poll_seconds=0.1).close()
