"""Who and what features are about."""

from feast import Entity, ValueType

from ibook.edges.feast_views import HEARTBEAT_VIEW, STATE_VIEWS, feast_entity

card = feast_entity(STATE_VIEWS["card"])
device = feast_entity(STATE_VIEWS["device"])
user = feast_entity(STATE_VIEWS["user"])
event = feast_entity(STATE_VIEWS["event"])
promoter = Entity(name="promoter", join_keys=["promoter_id"], value_type=ValueType.STRING)
updates_partition = feast_entity(HEARTBEAT_VIEW)
