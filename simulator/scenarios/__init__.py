"""The runs there are, one module each; what a module says of itself is what `list-scenarios` prints."""

from simulator.scenarios import normal
from simulator.scenarios.scenario import Scenario, Stage, Turn

__all__ = ["SCENARIOS", "Scenario", "Stage", "Turn"]

SCENARIOS: dict[str, Scenario] = {module.SCENARIO.name: module.SCENARIO for module in (normal,)}
"""By name, in the order `run-all` plays them."""
