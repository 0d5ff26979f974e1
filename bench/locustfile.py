"""What the users of `python -m bench serving` do. Locust runs this file; importing it patches the interpreter."""

import os
from itertools import cycle
from pathlib import Path

from locust import FastHttpUser, constant_throughput, task

BODIES = cycle(Path(os.environ["BENCH_BODIES"]).read_text().split("\n"))
N_ROWS = int(os.environ["BENCH_ROWS"])
HEADERS = {"content-type": "application/json"}


class Caller(FastHttpUser):
    """Asks for scores at a steady rate; an answer without a verdict on features for every row is a failure."""

    wait_time = constant_throughput(float(os.environ["BENCH_RATE_PER_USER"]))

    @task
    def scores(self) -> None:
        """One request."""
        with self.client.post("/v1/fraud/scores", data=next(BODIES), headers=HEADERS, catch_response=True) as answer:
            if answer.status_code == 200 and answer.content.count(b'"posture":"normal"') != N_ROWS:
                answer.failure("not every row was scored on its features")
