"""What the users of `python -m bench serving` do. Locust runs this file; importing it patches the interpreter."""

import os
from itertools import cycle
from pathlib import Path
from random import random
from time import sleep

from locust import FastHttpUser, constant_throughput, task

METHOD, PATH = os.environ["BENCH_METHOD"], os.environ["BENCH_PATH"]
REQUESTS = cycle([line.partition("\t")[::2] for line in Path(os.environ["BENCH_REQUESTS"]).read_text().split("\n")])
RATE = float(os.environ["BENCH_RATE_PER_USER"])
PROOF, TIMES = os.environ["BENCH_PROOF"].encode(), int(os.environ["BENCH_TIMES"])
HEADERS = {"content-type": "application/json", "authorization": f"Bearer {os.environ.get('IBOOK_API_KEY', '')}"}


class Caller(FastHttpUser):
    """Asks at a steady rate over a connection that stays open; an answer without its proof is a failure."""

    wait_time = constant_throughput(RATE)

    def on_start(self) -> None:
        """Users start together: without this all of them would ask at the same moment, again and again."""
        sleep(random() / RATE)

    @task
    def ask(self) -> None:
        """One request."""
        where, body = next(REQUESTS)
        with self.client.request(
            METHOD, PATH + where, name=METHOD, data=body or None, headers=HEADERS, catch_response=True
        ) as answer:
            if answer.status_code == 200 and (answer.content or b"").count(PROOF) != TIMES:
                answer.failure("the answer lacks what it should hold")
