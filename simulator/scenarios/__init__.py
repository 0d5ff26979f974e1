"""The runs there are, one module each; what a module says of itself is what `list-scenarios` prints."""

from simulator.scenarios import (
    black_friday,
    flash_sale,
    fraud_attack,
    gradual_drift,
    normal,
    system_degradation,
)
from simulator.scenarios.mixture import mixed
from simulator.scenarios.scenario import Scenario, Turn
from simulator.scenarios.stage import Stage

__all__ = ["SCENARIOS", "Scenario", "Stage", "Turn", "mixed"]

SCENARIOS: dict[str, Scenario] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (normal, flash_sale, fraud_attack, gradual_drift, system_degradation, black_friday)
}
"""By name, in the order `run-all` plays them."""
