"""Full load on the real server while its workers are killed and replaced: is each request answered right, is memory flat?

    python bench/soak.py [SECONDS] [--kill-every 10] [--hup-every 60]     default: 20 minutes; 0: never

Clients in processes of their own keep connections alive and mix one-row JSON, batches, bad input and labels. Every answer is
compared with LightGBM's own prediction, to the bit. A request whose connection a kill has cut is sent again, and must then be
answered. A cut is put down to a kill only if that connection was the killed worker's: it is stopped and its connections
are listed before it is killed. A young worker has no time to leak: `--kill-every 0 --hup-every 0` watches the same
workers for the whole time.
"""

import argparse
import gzip
import multiprocessing
import os
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import lightgbm
import msgspec
import numpy as np
import psutil

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench/serve"))

from model import COLUMNS, made_model, matrix, random_rows  # noqa: E402

WORKERS, CLIENTS, CONNECTIONS = 2, 3, 8  # connections of each client
SAMPLE_EVERY, SETTLED = 5, 120  # seconds; memory of the first ones does not count
PATIENCE = 30  # seconds without an answer are a hang
ATTEMPTS = 10
MOST_PROCESSES = 1 + 3 * WORKERS  # the master, workers that drain, new ones, one that replaces a killed one
MOST_FILES = 40 + CLIENTS * CONNECTIONS  # of one process


# What is asked -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    kind: str
    request: bytes
    status: int
    said: bytes  # must stand in the answer's body


def ask(kind, body, status, said, path="/predict", **headers) -> Question:
    headers = {"Host": "soak", "Content_Type": "application/json", **headers, "Content_Length": len(body)}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return Question(kind, f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body, status, said)


def questions(model: Path) -> list[Question]:
    "In proportion to how often they are asked."
    booster = lightgbm.Booster(model_file=model / "model.txt")

    def rows_and_answer(count, seed):
        rows = random_rows(count, seed).to_dict("records")
        predictions = booster.predict(matrix(rows, COLUMNS), num_threads=1).tolist()
        return rows, predictions, b'"predictions":%b}' % msgspec.json.encode(predictions)

    deck = []
    for seed in range(2000):
        rows, _, answer = rows_and_answer(1, seed)
        deck.append(ask("one row", msgspec.json.encode({"rows": rows}), 200, answer))
    for seed in range(2000, 2040):
        rows, predictions, answer = rows_and_answer(100, seed)
        table = {name: [row[name] for row in rows] for name in rows[0]}
        lines = [table, *(row.values() for row in rows)]
        text = "".join(",".join(map(str, line)) + "\n" for line in lines).encode()
        csv = "".join(f"{cell}\r\n" for cell in ["prediction", *predictions]).encode()
        packed = gzip.compress(msgspec.json.encode({"columns": table}))
        ndjson = msgspec.json.Encoder().encode_lines(rows[:10])
        ten = msgspec.json.encode(predictions[:10])[:-1] + b"]}"
        deck += [
            ask("100 rows", msgspec.json.encode({"rows": rows}), 200, answer),
            ask("100 rows, columns, gzip", packed, 200, answer, Content_Encoding="gzip"),
            ask("100 rows, CSV", text, 200, csv, Content_Type="text/csv"),
            ask(
                "10 rows, NDJSON",
                ndjson,
                200,
                ten,
                Content_Type="application/x-ndjson",
                Accept="application/json",
            ),
            *(_bad(rows[0])),
            _labels(seed),
        ]
    return deck


def _bad(row: dict) -> list[Question]:
    unknown = msgspec.json.encode({"rows": [row | {"more": 1}]})
    text = msgspec.json.encode({"rows": [row | {"number_25": "7"}]})
    unseen = msgspec.json.encode({"rows": [row | {"origin": "XXX"}]})
    return [
        ask("bad: unknown column", unknown, 400, b"column 'more': unknown column"),
        ask("bad: text for a number", text, 400, b"column 'number_25': text where a number is expected"),
        ask("bad: unseen level", unseen, 400, b"column 'origin': unseen level 'XXX'"),
        ask("bad: no JSON", b"{", 400, b"the body is not JSON"),
        ask("bad: type", b"<a/>", 415, b"cannot read a body of type 'text/html'", Content_Type="text/html"),
        ask("bad: route", b"{}", 404, b"POST /predictions", path="/predictions"),
    ]


def _labels(seed: int) -> Question:
    labels = [{"id": f"{seed:012x}-{0:012x}-{row:012x}", "label": row % 2} for row in range(3)]
    return ask("labels", msgspec.json.encode({"labels": labels}), 200, b'{"taken":3}', path="/labels")


# Who asks ------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    "What a client has seen."

    answered: Counter = field(default_factory=Counter)  # kind → how often, right
    refused: int = 0  # 503 with Retry-After
    closed: int = 0  # connections that the server has closed in order
    cuts: list = field(default_factory=list)  # (time, our port) of requests that lost their connection
    failures: list = field(default_factory=list)  # in words
    cpu: float = 0.0


class Client:
    "One process. It asks on all its connections, then reads all answers."

    def __init__(self, port: int):
        self.port, self.told = port, Told()
        self.connections: list[socket.socket | None] = [None] * CONNECTIONS

    def run(self, deck: list[Question], end: float) -> Told:
        asked = cycle(deck)
        while time.time() < end:
            round = [(at, next(asked)) for at in range(CONNECTIONS)]
            for at, question in round:
                self.send(at, question)
            for at, question in round:
                self.settle(at, question)
        self.told.cpu = time.process_time()
        return self.told

    def send(self, at: int, question: Question) -> None:
        if self.connections[at] and select.select([self.connections[at]], [], [], 0)[0]:  # its end
            self.told.closed += 1
            self.connections[at] = None
        if not self.connections[at]:
            self.connections[at] = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        with suppress(ConnectionError):  # to be seen when the answer is read
            self.connections[at].sendall(question.request)

    def settle(self, at: int, question: Question) -> None:
        "Read the answer; ask again where the connection was cut, or the server said later."
        for _ in range(ATTEMPTS):
            port = self.connections[at].getsockname()[1]
            try:
                head, body = read_answer(self.connections[at])
            except ConnectionError:
                self.told.cuts.append((time.time(), port))
                self.connections[at] = None
            except TimeoutError:
                self.told.failures.append(f"{question.kind}: no answer within {PATIENCE} s")
                self.connections[at] = None
                return
            else:
                if b"\r\nConnection: close" in head:
                    self.told.closed += 1
                    self.connections[at] = None
                if not (later := re.search(rb"^HTTP/1.1 503 [^$]*\r\nRetry-After: (\d+)", head)):
                    return self.judge(question, head, body)
                self.told.refused += 1
                time.sleep(int(later[1]))
            self.send(at, question)
        self.told.failures.append(f"{question.kind}: not answered in {ATTEMPTS} attempts")

    def judge(self, question: Question, head: bytes, body: bytes) -> None:
        if head.startswith(b"HTTP/1.1 %d " % question.status) and question.said in body:
            self.told.answered[question.kind] += 1
        else:
            self.told.failures.append(f"{question.kind}: {head[:60]!r} {body[:200]!r}")


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    "Head and body. Raises `ConnectionError` if it ends before."
    received = b""
    while True:
        head, gap, body = received.partition(b"\r\n\r\n")
        if gap and len(body) >= int(re.search(rb"Content-Length: (\d+)", head)[1]):
            return head, body
        piece = connection.recv(262144)
        if not piece:
            raise ConnectionError
        received += piece


def client_process(port: int, deck: list[Question], end: float, number: int, results) -> None:
    random.Random(number).shuffle(deck)
    results.put(Client(port).run(deck, end))


# The server, and what is done to it ----------------------------------------------------------------------------


class Server:
    def __init__(self, model: Path, folder: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.kills, self.hups = folder, [], []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", ROOT / "deploy/serve/gunicorn.conf.py"]
            + ["mlkit.serve.asgi:application()"],
            env=os.environ
            | {"PORT": str(self.port), "MLKIT_HOST": "127.0.0.1", "WEB_CONCURRENCY": str(WORKERS)}
            | {"MLKIT_MODEL": str(model / "bundle"), "MLKIT_PREDICTIONS": str(folder / "predictions")}
            | {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")},
            stdout=(folder / "log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.master = psutil.Process(self.process.pid)
        deadline = time.time() + PATIENCE
        while not self._ready():
            if time.time() > deadline:
                raise SystemExit((folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def get(self, path: str) -> str:
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE).read().decode()

    def _ready(self) -> bool:
        try:
            return bool(self.get("/readyz"))
        except OSError:
            return False

    def kill_one(self) -> None:
        "kill -9 of a worker, whose connections are noted."
        with suppress(psutil.NoSuchProcess):
            victim = random.choice(self.master.children())
            victim.suspend()
            while victim.status() not in (
                psutil.STATUS_STOPPED,
                psutil.STATUS_ZOMBIE,
            ):  # a signal takes a moment
                time.sleep(0.001)
            ports = {link.raddr.port for link in victim.net_connections("tcp") if link.raddr}
            victim.kill()
            self.kills.append((time.time(), ports))

    def reload(self) -> None:
        self.master.send_signal(signal.SIGHUP)
        self.hups.append(time.time())

    def sample(self) -> tuple[float, int, int]:
        "PSS in MB, processes, and the most file descriptors of one of them."
        pss = processes = files = 0
        for process in [self.master, *self.master.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                pss += process.memory_full_info().pss
                files = max(files, process.num_fds())
                processes += 1
        return pss / 1e6, processes, files

    def caused(self, cut: tuple[float, int]) -> bool:
        "Whether a request lost its connection because its worker was killed."
        when, port = cut
        return any(port in ports and abs(when - killed) < PATIENCE for killed, ports in self.kills)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)


# The run and its report ----------------------------------------------------------------------------------------


def watch(server: Server, clients: list, seconds: float, kill_every: float, hup_every: float) -> list[tuple]:
    "Kill, reload and sample until the clients are done. (seconds since the start, *sample) of each."
    chance, began, samples = random.Random(1), time.time(), []
    kill_at = began + kill_every if kill_every else float("inf")
    hup_at = began + hup_every if hup_every else float("inf")
    sample_at = began
    while any(client.is_alive() for client in clients):
        now = time.time()
        if now - began > seconds + 2 * PATIENCE * ATTEMPTS:
            raise SystemExit("the clients do not end")
        quiet = now > began + seconds - 2  # the last answers are counted in peace
        if now >= kill_at and not quiet:
            server.kill_one()
            kill_at = now + kill_every * chance.uniform(0.5, 1.5)
        if now >= hup_at and not quiet:
            server.reload()
            hup_at = now + hup_every
        if now >= sample_at:
            samples.append((now - began, *server.sample()))
            sample_at += SAMPLE_EVERY
        time.sleep(0.05)
        if now > began + seconds:
            return samples  # whoever still waits for an answer is waited for by its result
    return samples


def result_of(client, results) -> Told | None:
    while client.is_alive() and results.empty():
        time.sleep(0.05)
    return None if results.empty() else results.get()


def slope(hours: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    "Least squares: the slope and its standard error."
    x, y = hours - hours.mean(), values - values.mean()
    found = x @ y / (x @ x)
    rest = y - found * x
    return found, np.sqrt(rest @ rest / (len(x) - 2) / (x @ x))


def report(server: Server, seconds: float, told: list[Told], samples: list[tuple], cpu: float) -> bool:
    "Print what happened; whether all is as it must be."
    answered = sum((client.answered for client in told), Counter())
    failures = [failure for client in told for failure in client.failures]
    cuts = [cut for client in told for cut in client.cuts]
    strange = [cut for cut in cuts if not server.caused(cut)]
    refused, closed = sum(client.refused for client in told), sum(client.closed for client in told)
    print(f"answered right       {answered.total():12,}   {answered.total() / seconds:,.0f} a second")
    for kind, count in sorted(answered.items()):
        print(f"  {kind:24} {count:12,}")
    print(f"wrong or unanswered  {len(failures):12,}")
    for failure in failures[:10]:
        print(f"  {failure}")
    print(f"503 with Retry-After {refused:12,}")
    print(
        f"cut by a kill        {len(cuts) - len(strange):12,}   all sent again and answered, or counted above"
    )
    print(f"cut without a kill   {len(strange):12,}")
    for when, _ in strange[:10]:
        since_kill = min((when - t for t, _ in server.kills if t <= when), default=None)
        since_hup = min((when - t for t in server.hups if t <= when), default=None)
        print(f"  seconds after a kill {since_kill}, after a HUP {since_hup}")
    print(f"closed in order      {closed:12,}")
    print(f"kill -9 {len(server.kills)}, HUP {len(server.hups)}")

    predicted = sum(answered[kind] for kind in answered if "row" in kind)
    counted = re.search(
        r'^mlkit_requests_total\{route="/predict",status="200"\} (\S+)', server.get("/metrics"), re.M
    )
    counted = int(float(counted[1])) if counted else 0
    agree = predicted <= counted <= predicted + len(cuts)
    print(f"metrics count {counted:,} predictions, the clients {predicted:,} and {len(cuts)} cuts")

    flat = memory(samples, seconds)
    processes, files = max(s[2] for s in samples), max(s[3] for s in samples)
    half = len(samples) // 2
    print(
        f"processes at most {processes}; file descriptors of one at most {max(s[3] for s in samples[:half])} in the first half, {max(s[3] for s in samples[half:])} in the second"
    )
    print(f"files of metrics {len(list((server.folder / 'metrics').iterdir()))}")
    clients = sum(client.cpu for client in told)
    print(f"CPU: clients {clients / seconds:.2f} of {os.cpu_count()} cores, everything {cpu / seconds:.2f}")
    bounded = processes <= MOST_PROCESSES and files <= MOST_FILES
    return not failures and not strange and agree and bounded and flat


def memory(samples: list[tuple], seconds: float) -> bool:
    "Print the slope of PSS over the samples in which no worker was being replaced."
    settled = min(SETTLED, seconds / 4)
    late = [sample for sample in samples if sample[0] >= settled]
    calm = np.array([sample[:2] for sample in late if sample[2] == 1 + WORKERS])
    if len(calm) < 4:
        print("memory: too few samples")
        return True
    rise, error = slope(calm[:, 0] / 3600, calm[:, 1])
    low, middle, high = np.quantile(calm[:, 1], [0, 0.5, 1])
    print(
        f"PSS of the tree {middle:.1f} MB ({low:.1f} to {high:.1f}; {max(s[1] for s in samples):.1f} while workers were replaced)"
    )
    print(
        f"  slope {rise:+.2f} ± {error:.2f} MB an hour (standard error; {len(calm)} of {len(late)} samples after {settled:.0f} s)"
    )
    return rise < 3 * error or rise < 1  # MB an hour


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", type=float, nargs="?", default=1200)
    parser.add_argument("--kill-every", type=float, default=10, help="seconds, on average; 0: never")
    parser.add_argument("--hup-every", type=float, default=60, help="seconds; 0: never")
    told = parser.parse_args()
    model = made_model()
    deck = questions(model)
    with tempfile.TemporaryDirectory() as folder:
        server = Server(model, Path(folder))
        try:
            return 0 if soak(server, deck, told.seconds, told.kill_every, told.hup_every) else 1
        finally:
            server.stop()


def soak(server: Server, deck: list[Question], seconds: float, kill_every: float, hup_every: float) -> bool:
    context, before = multiprocessing.get_context("fork"), psutil.cpu_times()
    results, end = context.SimpleQueue(), time.time() + seconds
    clients = [
        context.Process(target=client_process, args=(server.port, deck, end, n, results), daemon=True)
        for n in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    samples = watch(server, clients, seconds, kill_every, hup_every)
    told = [found for client in clients if (found := result_of(client, results))]
    if len(told) < len(clients):
        raise SystemExit("a client has failed")
    after = psutil.cpu_times()
    busy = sum(after) - sum(before) - (after.idle - before.idle) - (after.iowait - before.iowait)
    good = report(server, seconds, told, samples, busy)
    print("PASSED" if good else "FAILED")
    return good


if __name__ == "__main__":
    sys.exit(main())
