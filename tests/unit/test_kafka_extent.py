"""What a partition holds is asked of a broker that has only just started, too."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ibook.edges.kafka import extent

PLACE = TopicPartition("ticket-purchases", 0)


class Broker:
    """Answers after some refusals."""

    def __init__(self, refusals: int, code: int) -> None:
        self.refusals, self._code = refusals, code

    def get_watermark_offsets(self, place: TopicPartition, timeout: float) -> tuple[int, int]:
        if self.refusals:
            self.refusals -= 1
            raise KafkaException(KafkaError(self._code))
        return 3, 7


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE])
def test_a_partition_without_a_leader_is_waited_for(code: int) -> None:
    assert extent(Broker(2, code), PLACE) == (3, 7)  # type: ignore[arg-type]


def test_it_is_not_waited_for_longer_than_asked() -> None:
    with pytest.raises(KafkaException):
        extent(Broker(1000, KafkaError.NOT_LEADER_FOR_PARTITION), PLACE, 0.15)  # type: ignore[arg-type]


def test_a_partition_that_is_not_there_is_told_at_once() -> None:
    broker = Broker(2, KafkaError.UNKNOWN_TOPIC_OR_PART)
    with pytest.raises(KafkaException):
        extent(broker, PLACE)  # type: ignore[arg-type]
    assert broker.refusals == 1
