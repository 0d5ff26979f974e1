"""The verdict agent most tutorials end with, as the baseline: one event at a time.

It uses the same model, the same window states and the same feature functions. What it leaves out is what our worker
does about load: batches, one vectorised score, publishing many records at once, reading Feast past its registry.
Nor does it fold its own purchases in, write evidence, or guard against repeats.
"""

import faust
import numpy as np

from ibook import codec
from ibook.edges.champion import Champion
from ibook.edges.feast_import import import_feast
from ibook.entities import EntityName
from ibook.features import keys_of, vector
from ibook.fraud import decide, load_policy
from ibook.messages import FraudVerdict, PurchaseRequested
from ibook.settings import Settings
from ibook.states import WindowState, decode_state
from ibook.topics import TICKET_PURCHASES

NAME = "naive"
TOPIC = "bench-naive-verdicts"


def create(settings: Settings) -> faust.App:
    """The Faust app, as `faust -A` would run it."""
    from streams.app import mark_ready

    import_feast()
    from feast import FeatureStore

    store = FeatureStore(fs_yaml_file=settings.data_dir / "feature_store.yaml")
    champion = Champion.follow(settings)
    policy = load_policy()
    app = faust.App(
        NAME,
        broker=f"aiokafka://{settings.kafka_bootstrap}",
        datadir=str(settings.data_dir / "naive"),
        store="memory://",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="latest",
    )
    purchases = app.topic(TICKET_PURCHASES.name, key_serializer="raw", value_serializer="raw")
    answers = app.topic(TOPIC, key_serializer="raw", value_serializer="raw")

    @app.agent(purchases)
    async def verdicts(stream: "faust.types.StreamT[bytes]") -> None:
        async for payload in stream:
            purchase: PurchaseRequested = codec.decode(payload, PurchaseRequested)
            row = vector(purchase, _states(store, purchase))
            assert champion.model is not None
            score = float(champion.model.score(np.stack([row]))[0])
            decision = decide(score, row, purchase, policy, "normal", 0.5, purchase.occurred_at)
            verdict = FraudVerdict(
                message_id=f"naive-{purchase.transaction_id}", occurred_at=purchase.occurred_at,
                transaction_id=purchase.transaction_id, action=decision.action, score_band=decision.score_band,
                posture="normal", model_version=champion.model.version,
            )  # fmt: skip
            await (await answers.send(key=purchase.transaction_id.encode(), value=codec.encode(verdict)))

    @app.on_rebalance_complete.connect(weak=False)
    async def _ready(sender: object, **_: object) -> None:
        champion.wait(60)
        mark_ready()

    return app


def _states(store: object, purchase: PurchaseRequested) -> dict[EntityName, WindowState | None]:
    """The states of a purchase's entities by the Feast SDK's own call."""
    keys = keys_of(purchase)
    found = store.get_online_features(  # type: ignore[attr-defined]
        features=[f"{entity}_state:{entity}_state" for entity in keys],
        entity_rows=[{f"{entity}_id": key for entity, key in keys.items()}],
    ).to_dict()
    states: dict[EntityName, WindowState | None] = {}
    for entity in keys:
        (value,) = found[f"{entity}_state"]
        states[entity] = decode_state(value) if value else None
    return states
