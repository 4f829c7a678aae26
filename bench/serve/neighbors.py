"""What a heavy request does to those beside it: `python bench/serve/neighbors.py`.

Two workers on this machine, eight clients who ask for one row, with and without company. The same model and rows as
`make bench-serve`. Alone and beside in turn; prints the answers and the 99th percentile of the eight, and of /livez.
"""

import http.client
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/integration"))
from live_server import LiveServer, save_model  # noqa: E402

SECONDS, ROUNDS = 4, 5
CSV = b"distance,temp,carrier\n"
ROWS = [b"%d,%d,AA\n" % (random.Random(n).randrange(40), n % 57) for n in range(1000)]


def small():
    return json.dumps({"rows": [{"distance": random.randrange(40), "temp": 1.5, "carrier": "AA"}]}).encode()


class Company:
    "Clients who do one thing until they are told to stop; the seconds of each answer."

    def __init__(self, server, clients, ask):
        self.seconds, self.codes, self.done = [], [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(server, ask)) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, server, ask):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        while not self.done.is_set():
            began = time.perf_counter()
            connection.request(*ask())
            answer = connection.getresponse()
            answer.read()
            self.seconds.append(time.perf_counter() - began)
            self.codes.append(answer.status)

    def stop(self):
        self.done.set()
        for thread in self.threads:
            thread.join()
        return self

    def p99(self):
        return 1000 * statistics.quantiles(self.seconds, n=100)[98] if len(self.seconds) > 2 else float("nan")


def one_row():
    return "POST", "/predict", small(), {"Content-Type": "application/json"}


def large(rows):
    body = CSV + b"".join(random.choices(ROWS, k=rows))
    return lambda: ("POST", "/predict", body, {"Content-Type": "text/csv"})


def measure(server, company=None):
    heavy = Company(server, *company) if company else None
    lives = Company(server, 1, lambda: ("GET", "/livez"))
    eight = Company(server, 8, one_row)
    time.sleep(SECONDS)
    for one in (eight, lives, *([heavy] if heavy else [])):
        one.stop()
    return eight, lives, heavy


def main():
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(save_model(Path(folder) / "model", trees=500), Path(folder))
        try:
            rounds = [(measure(server), measure(server, (2, large(50_000)))) for _ in range(ROUNDS)]
        finally:
            server.stop()
    for number, (alone, beside) in enumerate(rounds, 1):
        print(
            f"round {number}: alone {words(alone)}; beside two with 50,000 rows {words(beside)}, {share(alone, beside):.0%}"
        )
    print(f"median: {statistics.median(share(*each) for each in rounds):.0%} of what the eight get alone")


def share(alone, beside):
    return len(beside[0].seconds) / len(alone[0].seconds)


def words(measured):
    eight, lives, heavy = measured
    text = f"{len(eight.seconds)} answers, p99 {eight.p99():.1f} ms, /livez p99 {lives.p99():.1f} ms"
    return f"{text}, the two {len(heavy.seconds)} answers, {set(heavy.codes)}" if heavy else text


if __name__ == "__main__":
    main()
