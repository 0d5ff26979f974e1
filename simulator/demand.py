"""Willingness to pay: a logit choice between buying at the shown price and leaving."""

from dataclasses import dataclass
from math import exp, log


@dataclass(frozen=True, slots=True)
class Demand:
    """P(buy | price) = 1 / (1 + exp(-(intercept + slope * price))), price in minor units, slope below 0."""

    intercept: float
    slope: float

    @classmethod
    def at_list(cls, list_price_minor: int, *, probability: float, elasticity: float) -> "Demand":
        """The curve with this purchase probability and own-price elasticity at the list price.

        The own-price elasticity of a logit choice is slope * price * (1 - P); Train (2009), Discrete Choice
        Methods with Simulation, section 3.6. Raises ValueError unless 0 < probability < 1 and elasticity < 0.

        >>> curve = Demand.at_list(5000, probability=0.4, elasticity=-1.2)
        >>> round(curve.probability(5000), 6), round(curve.elasticity(5000), 6)
        (0.4, -1.2)
        """
        if not 0 < probability < 1 or elasticity >= 0:
            raise ValueError(f"no logit demand with probability {probability} and elasticity {elasticity}")
        slope = elasticity / (list_price_minor * (1 - probability))
        return cls(intercept=log(probability / (1 - probability)) - slope * list_price_minor, slope=slope)

    def probability(self, price_minor: int) -> float:
        """P(buy) of one buyer who is shown this price."""
        return 1 / (1 + exp(-(self.intercept + self.slope * price_minor)))

    def elasticity(self, price_minor: int) -> float:
        """Own-price elasticity of P(buy) at this price."""
        return self.slope * price_minor * (1 - self.probability(price_minor))
