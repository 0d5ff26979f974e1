"""Whoever attacks the shop: begins what `simulator.attacks` describes, one launch after the other."""

from random import Random

from simulator.attacks import CAMPAIGNS, PATTERNS, behaviours
from simulator.attacks.craft import Craft
from simulator.attacks.tempo import LIVE_TEMPO, Span, Tempo
from simulator.scene import Scene

__all__ = ["CAMPAIGNS", "LIVE_TEMPO", "Fraudsters", "Span", "Tempo"]


class Fraudsters:
    """Begins attacks in a scene; everything about them is drawn from `rng`."""

    def __init__(self, scene: Scene, rng: Random, tempo: Tempo) -> None:
        self._scene = scene
        self._behaviours = behaviours(Craft(scene, rng, tempo))

    def launch(self, pattern: str) -> int | None:
        """Begin an attack now; its number, None where purchases come one by one. Raises KeyError for an unknown one."""
        begin = self._behaviours[pattern]
        engine = self._scene.engine
        number = self._scene.truth.begin_attack(pattern, engine.now_us) if PATTERNS[pattern].is_campaign else None
        engine.start(begin(number))
        return number
