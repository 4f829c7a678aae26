"A request is judged by its head: who may not ask costs nothing, and the head means what HTTP says that it means."

import gzip

import pytest
from eventually import eventually
from live_server import PLAIN, LiveServer, read_all, request, save_model
from memory_group import MEGABYTE, Group

from mlkit.serve.auth.keys import add_key, make_key

HEAD = "{method} {target} HTTP/{version}\r\n{headers}\r\n"


def head(target, *headers, method="POST", version="1.1", host="Host: test\r\n"):
    lines = "".join(f"{header}\r\n" for header in headers)
    return HEAD.format(method=method, target=target, version=version, headers=host + lines).encode()


def ask(server, data, seconds=5):
    "All that comes back until the server closes, or is silent for some seconds."
    with server.socket(seconds) as client:
        client.sendall(data)
        received = b""
        try:
            while piece := client.recv(65536):
                received += piece
        except TimeoutError:
            pass
        return received


@pytest.fixture(scope="module")
def secret():
    return make_key("shop", ("predict", "labels"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, secret):
    folder = tmp_path_factory.mktemp("guarded")
    add_key(folder / "keys", secret[1])
    predictions = folder / "predictions"
    predictions.mkdir()
    server = LiveServer(
        *(save_model(folder / "model"), folder),
        workers=1,
        ready="/readyz",
        MLKIT_KEYS=folder / "keys",
        MLKIT_PREDICTIONS=predictions,
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open")
    server = LiveServer(save_model(folder / "model"), folder, workers=1)
    yield server
    server.stop()


@pytest.mark.parametrize("target", ["/predict", "/labels", "/"])
@pytest.mark.parametrize("key", [(), ("Authorization: Bearer guessed",)], ids=["no key", "a wrong key"])
def test_who_has_no_key_is_refused_before_the_body_is_asked_for(guarded, target, key):
    wanted = head(target, "Content-Length: 16000000", "Content-Type: text/csv", "Expect: 100-continue", *key)
    answer = ask(guarded, wanted)
    assert answer.startswith(b"HTTP/1.1 401 ") and b"100 Continue" not in answer


def test_who_has_a_key_is_told_to_go_on(guarded, secret):
    wanted = head(
        "/predict",
        f"Content-Length: {len(PLAIN)}",
        "Content-Type: application/json",
        "Expect: 100-continue",
        f"Authorization: Bearer {secret[0]}",
    )
    with guarded.socket() as client:
        client.sendall(wanted)
        assert client.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
        client.sendall(PLAIN)
        assert b"HTTP/1.1 200 OK" in client.recv(1000)


@pytest.mark.parametrize(
    "headers, status",
    [
        (["Content-Length: 17000000", "Content-Type: text/csv"], 413),
        (["Content-Length: 10", "Content-Type: text/html"], 415),
    ],
)
def test_length_and_type_are_looked_at_before_the_body_is_asked_for(server, headers, status):
    answer = ask(server, head("/predict", *headers, "Expect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 %d " % status) and b"100 Continue" not in answer


def test_a_form_of_sixteen_megabytes_costs_nothing_where_keys_are_needed(guarded):
    [worker] = guarded.workers()
    before = worker.memory_info().rss
    form = b"a=1&" * (4 * MEGABYTE)
    answer = guarded.send(request(form, "/", content_type="application/x-www-form-urlencoded"))
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert worker.memory_info().rss - before < 20 * MEGABYTE


def test_a_form_is_bounded(server):
    form = b"a=1&" * MEGABYTE
    answer = server.send(request(form, "/", content_type="application/x-www-form-urlencoded"))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_two_authorizations_are_refused(guarded, secret):
    double = head("/model", f"Authorization: Bearer {secret[0]}", "Authorization: Bearer x", method="GET")
    assert ask(guarded, double, 1).startswith(b"HTTP/1.1 400 ")


def test_another_site_cannot_ask_through_a_browser(server):
    form = b"c0=1&c2=%22AA%22"
    cross = request(form, "/", content_type="application/x-www-form-urlencoded", Sec_Fetch_Site="cross-site")
    assert server.send(cross).startswith(b"HTTP/1.1 403 ")


# What HTTP says ------------------------------------------------------------------------------------------------


def test_a_target_may_be_a_whole_address(server):
    assert ask(server, head("http://test/livez", "Connection: close", method="GET")).startswith(
        b"HTTP/1.1 200 "
    )
    whole = request(path="http://test/predict").replace(
        b"Host: test\r\n", b"Host: test\r\nConnection: close\r\n"
    )
    assert ask(server, whole).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("host", ["", "Host: a\r\nHost: b\r\n"], ids=["none", "two"])
def test_a_request_names_its_host_once(server, host):
    for _ in range(2):  # the second may not find a shortcut
        data = head("/predict", f"Content-Length: {len(PLAIN)}", "Content-Type: application/json", host=host)
        assert ask(server, data + PLAIN, 1).startswith(b"HTTP/1.1 400 ")


def test_a_server_that_has_names_answers_by_no_other(tmp_path):
    server = LiveServer(
        save_model(tmp_path / "model"), tmp_path, workers=1, MLKIT_HOSTS="localhost,127.0.0.1,[::1]"
    )
    try:
        for _ in range(3):  # later ones may not find a shortcut that was closed to the first, or the reverse
            for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:80", "[::1]:8000"):
                known = request().replace(b"Host: test", f"Host: {host}".encode())
                assert ask(server, known, 0.3).startswith(b"HTTP/1.1 200 "), host
            for host in ("evil.example", "localhost.evil.example:8000", "[::2]", "localhost:80:80", ""):
                other = request().replace(b"Host: test", f"Host: {host}".encode())
                live = head("/livez", method="GET", host=f"Host: {host}\r\n")
                for answer in (ask(server, other, 0.3), ask(server, live, 0.3)):
                    assert answer.startswith(b"HTTP/1.1 421 ") and b"does not answer for" in answer, host
        nameless = head("/livez", method="GET", version="1.0", host="")
        assert b" 421 " in ask(server, nameless, 0.3).split(b"\r\n")[0]
    finally:
        server.stop()


def test_http_1_0_needs_no_host_and_may_keep_its_connection(server):
    done = ["Content-Type: application/json", f"Content-Length: {len(PLAIN)}"]
    old = head("/predict", *done, version="1.0", host="")
    assert b" 200 OK\r\n" in ask(server, old + PLAIN)
    kept = head("/predict", *done, "Connection: keep-alive", version="1.0", host="")
    with server.socket() as client:
        for _ in range(2):
            client.sendall(kept + PLAIN)
            answer = client.recv(65536).lower()
            assert b" 200 ok\r\n" in answer
            if b"connection: keep-alive" not in answer:  # then the client must see the end
                assert read_all(client) == b""
                break


def test_x_gzip_is_gzip(server):
    packed = request(gzip.compress(PLAIN), Content_Encoding="x-gzip")
    assert server.send(packed).startswith(b"HTTP/1.1 200 ")


# Memory --------------------------------------------------------------------------------------------------------


@pytest.fixture
def group():
    group = Group(512 * MEGABYTE)
    yield group
    group.remove()


def test_half_bodies_without_end_kill_no_worker(tmp_path, group):
    server = LiveServer(save_model(tmp_path / "model"), tmp_path, before=group.before)
    workers = server.both_workers()
    half = head("/predict", "Content-Length: 16000000", "Content-Type: text/csv") + b"a" * (15 * MEGABYTE)
    clients = []
    for _ in range(42):
        client = server.socket(2)
        try:
            client.sendall(half)
        except (TimeoutError, ConnectionError):
            pass  # it is not taken any more
        clients.append(client)
    try:
        assert eventually(lambda: server.get("/readyz")[0] == 200)
        assert {worker.pid for worker in server.workers()} == workers and group.killed() == 0
        for client in clients:
            client.close()
        assert eventually(lambda: server.send(request()).startswith(b"HTTP/1.1 200 "))
    finally:
        server.stop()


def test_of_500_that_ask_without_a_pause_everybody_is_answered(tmp_path):
    server = LiveServer(save_model(tmp_path / "model"), tmp_path)
    clients = [server.socket(20) for _ in range(500)]
    answered = set()
    for _ in range(40):
        for client in clients:
            client.sendall(request())
        for number, client in enumerate(clients):
            answer = client.recv(65536)
            if answer.startswith(b"HTTP/1.1 200 "):
                answered.add(number)
            else:
                assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in answer
        if len(answered) == len(clients):
            break
    assert len(answered) == len(clients)
    server.stop()
