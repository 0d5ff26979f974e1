"""The report's page."""

from simulator.judgement import Judgement


def render(judgement: Judgement) -> str:
    """The page of a judgement, whole."""
    raise NotImplementedError
