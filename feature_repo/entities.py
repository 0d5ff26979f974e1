"""Who and what features are about."""

from ibook.edges.feast_views import HEARTBEAT_VIEW, SERVED_VIEW, STATE_VIEWS, feast_entity

OF_STATES = {entity: feast_entity(view) for entity, view in STATE_VIEWS.items()}
updates_partition = feast_entity(HEARTBEAT_VIEW)
transaction = feast_entity(SERVED_VIEW)
