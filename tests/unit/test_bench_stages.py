"""Each stage is charged for its own processor time alone."""

import time

from bench.stages import Stages


class Core:
    """Something that takes time."""

    def work(self, seconds: float) -> None:
        """Keep the processor busy."""
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass


class Watched(Core):
    """Of which every call is counted."""


def test_what_runs_inside_another_stage_counts_for_itself_alone() -> None:
    stages, core = Stages(), Core()
    stages.watch(Watched, "work", "inner")
    with stages.stage("outer"):
        core.work(0.02)
        Watched().work(0.08)
    core.work(0.04)  # in no stage
    us = stages.microseconds(10)
    assert list(us) == ["outer", "inner"]
    assert 2_000 <= us["outer"] < us["inner"]
    assert us["inner"] >= 8_000
