"""What is worse than usual is looked for when somebody asks, and not more often than it changes."""

from serving.degradation import HOLD_SECONDS, Fault, Watch


def test_who_asks_all_the_time_does_not_make_the_api_look_all_the_time() -> None:
    clock, looks = [0.0], [0]

    def look() -> dict[Fault, str]:
        looks[0] += 1
        return {"journal": f"look {looks[0]}"}

    watch = Watch(look, monotonic=lambda: clock[0])
    assert [watch.faults() for _ in range(1000)] == [{"journal": "look 1"}] * 1000
    clock[0] = HOLD_SECONDS
    assert watch.faults() == {"journal": "look 2"}
