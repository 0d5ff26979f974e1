"""An ordinary hour: a steady rate, people who look, buy or leave, and the usual background of fraud and abuse."""

from simulator.scenarios.scenario import Scenario, described

SCENARIO = Scenario(name="normal", description=described(__doc__))
