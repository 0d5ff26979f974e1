"""The record of a run, live or virtual, from what it left."""

from simulator import record
from simulator.chronicle import Chronicle, Decided
from simulator.evidence import EvidenceReader
from simulator.realtime import RealtimeShop
from simulator.record import RunRecord, this_machine
from simulator.scenarios.play import Play
from simulator.virtual import VirtualShop


def record_of_live(
    shop: RealtimeShop, chronicle: Chronicle, evidence: EvidenceReader, *, seed: int, compress: float
) -> RunRecord:
    """A run on Kafka, once the shop and the reader have stopped."""
    stats, play = shop.stats(), shop.play

    def decided(transaction_id: str) -> Decided:
        sent, found = shop.board.sent[transaction_id], evidence.found.get(transaction_id)
        if sent.action is None or sent.latency is None:
            return Decided()
        score, posture = (None, None) if found is None else (found.score, found.posture)
        return Decided(action=sent.action, score=score, posture=posture, latency_ms=sent.latency * 1000)

    simulation = play.simulation
    return RunRecord(
        scenario=play.scenario.name, description=play.scenario.description, parts=play.scenario.parts,
        seed=seed, mode="live",
        decided_by="platform", started_us=play.started_us, seconds=stats.seconds, compress=compress,
        machine=this_machine(), rate_asked=play.rate_until(stats.seconds), rate_reached=stats.rate_reached,
        holds_rate=stats.held_the_rate, worst_lag_seconds=stats.worst_lag_seconds,
        pacing_error_ms=stats.pacing_error_ms, messages=stats.messages, undelivered=stats.undelivered,
        missing=stats.missing, conflicting=stats.conflicting, duplicated=stats.duplicated,
        purchases=chronicle.purchases(simulation, decided), events=chronicle.events(simulation),
        prices=chronicle.prices(simulation), markets=simulation.storefront.markets(),
        unquoted=stats.unquoted, changes=tuple(play.changes),
        degradation=_degradation(play, len(shop.damaged_answered)),
    )  # fmt: skip


def record_of_virtual(shop: VirtualShop, chronicle: Chronicle, *, seed: int, compress: float) -> RunRecord:
    """A run in virtual time, once it has ended."""
    play, seconds = shop.play, shop.seconds
    simulation = play.simulation
    purchases = chronicle.purchases(simulation, lambda name: Decided(action=shop.actions.get(name)))
    return RunRecord(
        scenario=play.scenario.name, description=play.scenario.description, parts=play.scenario.parts,
        seed=seed, mode="history",
        decided_by="stand-in", started_us=play.started_us, seconds=seconds, compress=compress,
        machine=this_machine(), rate_asked=play.rate_until(seconds),
        rate_reached=len(purchases) / seconds if seconds else 0.0,
        messages=dict(simulation.feed.sent), purchases=purchases, events=chronicle.events(simulation),
        prices=chronicle.prices(simulation), markets=simulation.storefront.markets(),
        unquoted=simulation.storefront.shown.total(),
        changes=tuple(play.changes), degradation=_degradation(play, 0),
    )  # fmt: skip


def _degradation(play: Play, answered: int) -> record.Degradation | None:
    if play.degraded is None:
        return None
    return record.Degradation(
        counts=dict(sorted(play.degraded.counts.items())), identifiable=len(play.degraded.identifiable),
        answered=answered,
    )  # fmt: skip
