"""An ordinary hour on a bad network: from a fifth of the run on messages come late, twice, in another order or
broken, and now and then none for a while and then all at once; nothing is lost, and no purchase is answered twice."""

from simulator.degradation import Degradation
from simulator.scenarios.scenario import Scenario, described

SCENARIO = Scenario(name="system-degradation", description=described(__doc__), degradation=Degradation())
