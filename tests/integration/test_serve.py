"The live server: one contract by every way in, and clients that are slow, greedy, broken or mean."

import gzip
import json
import re
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest
from eventually import eventually
from live_server import PLAIN, LiveServer, read_all, request, save_model

from mlkit.serve.app import create_app
from mlkit.serve.options import Options
from mlkit.serve.service import Service

TWO = b'{"rows":[{"distance":3,"temp":null,"carrier":"UA"},{"distance":30,"temp":0,"carrier":"AA"}]}'
NDJSON, CSV, HTML = "application/x-ndjson", "text/csv", "text/html"
JSON = "application/json"

CONTRACT = [
    # body, type, other headers, path
    (PLAIN, JSON, {}, "/predict"),
    (PLAIN, "application/json; charset=utf-8", {}, "/predict"),
    (PLAIN, JSON, {"Accept": "*/*"}, "/predict"),
    (PLAIN, JSON, {"Accept": CSV}, "/predict"),
    (PLAIN, JSON, {"Accept": "image/png"}, "/predict"),
    (PLAIN, JSON, {}, "/predict?explain=1"),
    (PLAIN, JSON, {}, "/predict?explain=0"),
    (PLAIN, HTML, {}, "/predict"),
    (gzip.compress(PLAIN, mtime=0), JSON, {"Content-Encoding": "gzip"}, "/predict"),
    (PLAIN, JSON, {"Content-Encoding": "gzip"}, "/predict"),
    (PLAIN, JSON, {"Content-Encoding": "br"}, "/predict"),
    (TWO, JSON, {}, "/predict"),
    (b'{"columns":{"distance":[3],"temp":[1.5],"carrier":["AA"]}}', JSON, {}, "/predict"),
    (b'{"distance":3,"carrier":"AA"}\n', NDJSON, {}, "/predict"),
    (b"distance,temp,carrier\n3,,AA\n", CSV, {}, "/predict"),
    (b"distance,temp,carrier\n3,,AA\n", CSV, {"Accept": "application/vnd.apache.arrow.stream"}, "/predict"),
    (b"", JSON, {}, "/predict"),
    (b"{", JSON, {}, "/predict"),
    (b"null", JSON, {}, "/predict"),
    (b'{"rows":[]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3.5,"temp":1,"carrier":"AA"}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3.0,"temp":1,"carrier":"AA"}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":"3","temp":1,"carrier":"AA"}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3,"temp":NaN,"carrier":"AA"}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3,"temp":1e999,"carrier":"AA"}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3,"temp":1,"carrier":"ZZ"}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3,"temp":1,"carrier":"AA","more":1}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"distance":3,"temp":1,"carrier":"AA","temp":2}]}', JSON, {}, "/predict"),
    (b'{"rows":[{"carrier":"AA","distance":3}]}', JSON, {}, "/predict"),
    (b'{"rows":' + b"[" * 50_000, JSON, {}, "/predict"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def server(model, tmp_path_factory):
    server = LiveServer(model, tmp_path_factory.mktemp("server"), MLKIT_CLIENT_SECONDS=2)
    yield server
    server.stop()


@pytest.fixture
def start(model, tmp_path):
    "Starts servers of their own, which end with the test."
    started = []

    def start(**environment):
        started.append(LiveServer(model, tmp_path, **environment))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def told(status, content_type, body):
    "An answer without what differs between two equal requests: its id."
    return status, content_type, re.sub(rb"[0-9a-f]{12}-[0-9a-f]{12}-[0-9a-f]{12}", b"ID", body)


def ask(connection, body, content_type, headers, path):
    connection.request("POST", path, body, {"Content-Type": content_type, **headers})
    answer = connection.getresponse()
    return told(answer.status, answer.headers["Content-Type"], answer.read())


def libraries_of(server):
    "What of the large libraries the master and its workers have mapped."
    processes = [psutil.Process(server.process.pid), *server.workers()]
    mapped = "".join(Path(f"/proc/{each.pid}/maps").read_text() for each in processes)
    return {name for name in ("lightgbm", "scipy", "pandas", "pyarrow") if f"/{name}/" in mapped}


def test_what_the_forest_answers_loads_no_library_until_contributions_are_asked_for(start):
    server = start(workers=1)
    connection = server.connect()
    for body in (PLAIN, TWO):
        assert ask(connection, body, JSON, {}, "/predict")[0] == 200
    assert libraries_of(server) == set()
    assert ask(connection, PLAIN, JSON, {}, "/predict?explain=1")[0] == 200
    assert libraries_of(server) == {"lightgbm"}
    connection.close()


def test_every_way_in_answers_the_same(server, model):
    flask = create_app(Service(Options(model))).test_client()
    shortcut, parsed = server.connect(), server.connect()
    for number, (body, content_type, headers, path) in enumerate(CONTRACT):
        answer = flask.post(path, data=body, content_type=content_type, headers=headers)
        expected = told(answer.status_code, answer.headers["Content-Type"], answer.data)
        for _ in range(3):  # from the second on the worker knows the head
            assert ask(shortcut, body, content_type, headers, path) == expected, body
        unique = headers | {"X-Request-Id": f"never-seen-{number}"}
        assert ask(parsed, body, content_type, unique, path) == expected, body


def test_a_stream_cut_anywhere_is_answered_as_the_whole(server):
    bodies = [body for body, _, headers, _ in CONTRACT if not headers][:12] * 3
    stream = b"".join(request(body) for body in bodies)
    whole = [json.loads(answer).get("predictions", "refused") for answer in bodies_of(server.send(stream))]
    assert len(whole) == len(bodies)
    for seed in range(20):
        cut = bodies_of(server.send(stream, pieces=40, seed=seed))
        assert [json.loads(answer).get("predictions", "refused") for answer in cut] == whole


def bodies_of(received):
    "The bodies of the responses in a stream."
    bodies = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        bodies.append(rest[:length])
        received = rest[length:]
    return bodies


GOOD = request()
MEAN = {
    "both lengths": GOOD.replace(b"Host: test", b"Host: test\r\nTransfer-Encoding: chunked"),
    "two lengths": GOOD.replace(b"Host: test", b"Host: test\r\nContent-Length: 3"),
    "a length of 5000 digits": GOOD.replace(b"Content-Length: ", b"Content-Length: " + b"9" * 5000),
    "a signed length": GOOD.replace(b"Content-Length: ", b"Content-Length: +"),
    "a space before the colon": GOOD.replace(b"Content-Length:", b"Content-Length :"),
    "a folded header": GOOD.replace(b"Host: test", b"Host: test\r\n folded"),
    "a bare line feed": GOOD.replace(b"Host: test\r\n", b"Host: test\n"),
    "an unknown coding": GOOD.replace(b"Host: test", b"Host: test\r\nTransfer-Encoding: xchunked"),
    "a chunk that is not hexadecimal": b"POST /predict HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a control character": GOOD.replace(b"Host: test", b"Host: te\x00st"),
    "a line without end": b"POST /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n",
    "a header without end": GOOD.replace(b"Host: test", b"Host: " + b"a" * 20_000),
    "too many headers": GOOD.replace(b"Host: test\r\n", b"".join(b"X-%d: 1\r\n" % i for i in range(200))),
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 30 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", MEAN)
def test_a_mean_request_is_refused_once_and_the_connection_ends(server, name):
    known = server.socket()
    known.sendall(GOOD)
    assert known.recv(65536).startswith(b"HTTP/1.1 200")  # so that the worker has a head to be fooled with
    known.sendall(MEAN[name] + GOOD)
    received = read_all(known)
    assert re.match(rb"HTTP/1.1 (400|414|431|501) ", received), received[:200]
    assert received.count(b"HTTP/1.1 ") == 1, "the bytes behind were taken for a request"


def test_a_gunicorn_that_is_not_proved_serves_with_its_own_worker_and_says_so(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import gunicorn\ngunicorn.version_info = (27, 9, 0)\n")
    assert "not proved" not in start().log.read_text()
    server = start(PYTHONPATH=tmp_path)
    assert ask(server.connect(), PLAIN, JSON, {}, "/predict")[0] == 200
    said = server.log.read_text()
    assert "not proved" in said and "gunicorn's own answers" in said
    assert re.findall("Using worker: (.*)", said)[-1] == "gunicorn.workers.gasgi.ASGIWorker"


def test_a_slow_client_holds_no_worker_and_is_sent_away(start):
    server = start(workers=1, MLKIT_CLIENT_SECONDS=1)
    slow = [server.socket() for _ in range(60)]
    for number, client in enumerate(slow):
        client.sendall(GOOD[: 10 if number % 2 else -5])
    began = time.monotonic()
    connection = server.connect()
    for _ in range(50):
        assert ask(connection, PLAIN, JSON, {}, "/predict")[0] == 200
    assert time.monotonic() - began < 5
    for client in slow:
        assert read_all(client).startswith(b"HTTP/1.1 408")


def test_a_half_closed_connection_gets_its_answer(server):
    for data in (
        GOOD,
        GOOD.replace(b"Host: test", b"Host: test\r\nX-Request-Id: a"),
        request(b"", "/livez", "GET"),
    ):
        assert server.send(data).startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_in_the_middle_harms_nobody(server):
    for data in (GOOD[:-5], GOOD[:40], request(b"x" * 100_000)[:50_000]):
        client = server.socket()
        client.sendall(data)
        client.close()
    assert ask(server.connect(), PLAIN, JSON, {}, "/predict")[0] == 200


def test_too_many_connections_are_told_to_come_back(start):
    server = start(workers=1, MLKIT_MAX_CONNECTIONS=5)
    held = [server.socket() for _ in range(5)]
    for client in held:
        client.sendall(GOOD)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    received = read_all(server.socket())
    assert received.startswith(b"HTTP/1.1 503") and b"Retry-After: 1" in received
    held.pop().close()
    eventually(lambda: server.get("/livez")[0] == 200)


def test_who_would_wait_too_long_is_told_to_come_back(start):
    server = start(workers=1, MLKIT_MAX_WAITING=4)
    rows = b'{"columns":{"distance":[%b3],"temp":[%b1],"carrier":[%b"AA"]}}'
    long = request(rows % (b"3," * 90_000, b"1," * 90_000, b'"AA",' * 90_000))
    waiting = [server.socket(timeout=30) for _ in range(30)]
    for client in waiting:
        client.sendall(GOOD)
        client.recv(65536)
    busy = server.socket(timeout=60)
    busy.sendall(long)
    for client in waiting:
        client.sendall(GOOD)
    statuses = [client.recv(65536).split(b" ", 2)[1] for client in waiting]
    assert set(statuses) <= {b"200", b"503"} and statuses.count(b"200") >= 4 and b"503" in statuses


@pytest.mark.parametrize(
    "body, headers, status, detail",
    [
        (gzip.compress(b" " * 200_000_000), {"Content-Encoding": "gzip"}, 413, "inflates to more than"),
        (
            b'{"rows":[' + b'{"distance":1,"carrier":"AA"},' * 500_000 + b"]}",
            {},
            413,
            "more objects or cells than 100,000 rows have",
        ),
        (b"x" * 17_000_000, {}, 413, "the body has more than 16,777,216 bytes"),
    ],
)
def test_what_is_too_much_is_refused_in_words(server, body, headers, status, detail):
    found = ask(server.connect(timeout=60), body, JSON, headers, "/predict")
    assert found[:2] == (status, "application/problem+json") and detail in json.loads(found[2])["detail"]


def test_told_to_stop_it_finishes_what_it_began_and_waits_for_no_idler(start):
    server = start(workers=1)
    idle = server.connect()
    assert ask(idle, PLAIN, JSON, {}, "/predict")[0] == 200
    rows = request(b"distance,temp,carrier\n" + b"3,1,AA\n" * 90_000, content_type=CSV)
    busy = server.socket(timeout=60)
    busy.sendall(rows[:-10])
    eventually(lambda: server.get("/livez")[0] == 200)
    server.process.terminate()
    threading.Timer(0.5, busy.sendall, [rows[-10:]]).start()
    received = read_all(busy)
    assert received.startswith(b"HTTP/1.1 200") and b"Connection: close" in received
    began = time.monotonic()
    server.process.wait(30)
    assert time.monotonic() - began < 5


def test_a_worker_killed_in_the_middle_of_a_day_is_replaced(start):
    server = start(workers=2)
    for _ in range(3):
        before = {worker.pid for worker in server.workers()}
        victim = server.workers()[0]
        victim.kill()
        eventually(
            lambda before=before, victim=victim: len({w.pid for w in server.workers()} - {victim.pid}) == 2
        )
        eventually(lambda: ask(server.connect(), PLAIN, JSON, {}, "/predict")[0] == 200)


def test_ipv4_keep_alive_is_kept_and_ended_in_time(server):
    client = server.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(100):
        client.sendall(GOOD)
        assert b"Connection: close" not in client.recv(65536)
