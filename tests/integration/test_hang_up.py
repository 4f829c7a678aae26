"Clients that leave before their answer is there take nothing with them: each socket is given back."

import contextlib
import os
import socket
import struct
import threading
from pathlib import Path

import pytest
from eventually import eventually
from live_server import PLAIN, LiveServer, request, save_model

CSV = b"distance,temp,carrier\n" + b"3,1,AA\n" * 2000
ASKED = {
    "one row": request(),
    "many rows": request(CSV, content_type="text/csv"),
    "a page": request(b"", "/model", "GET"),
    "a mistake": request(b'{"rows":[{"distance":"far"}]}'),
}


def close(client):
    client.close()


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def half_close_then_leave(client):
    client.shutdown(socket.SHUT_WR)
    client.close()


def half_close_then_reset(client):
    client.shutdown(socket.SHUT_WR)
    reset(client)


def sockets(process):
    "How many sockets a process holds."
    kinds = [os.readlink(f) for f in Path(f"/proc/{process.pid}/fd").iterdir() if f.is_symlink()]
    return sum(kind.startswith("socket:") for kind in kinds)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hang-up")
    server = LiveServer(save_model(folder / "model"), folder, workers=1)
    yield server
    server.stop()


@contextlib.contextmanager
def somebody_asks(server):
    "Another client who asks without a pause."
    done = threading.Event()

    def ask():
        connection = server.connect()
        while not done.is_set():
            connection.request("POST", "/predict", PLAIN, {"Content-Type": "application/json"})
            assert connection.getresponse().read()
        connection.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("load", [contextlib.nullcontext, somebody_asks], ids=["idle", "busy"])
@pytest.mark.parametrize("leave", [close, reset, half_close_then_leave, half_close_then_reset])
@pytest.mark.parametrize("asked", ASKED)
def test_who_hangs_up_leaves_no_socket_behind(server, asked, leave, load):
    [worker] = server.workers()
    eventually(lambda: server.get("/livez")[0] == 200)
    before = sockets(worker)
    with load(server) if load is somebody_asks else load():
        for _ in range(100):
            client = server.socket()
            client.sendall(ASKED[asked])
            leave(client)
        assert server.get("/readyz")[0] == 200
    eventually(lambda: sockets(worker) <= before, 30)


def test_1100_clients_that_hang_up_at_once_leave_a_server_that_answers(server):
    [worker] = server.workers()
    before = sockets(worker)
    for _ in range(1100):
        client = server.socket()
        client.sendall(ASKED["one row"])
        half_close_then_reset(client)
    eventually(lambda: server.get("/readyz")[0] == 200, 30)
    eventually(lambda: sockets(worker) <= before, 30)


def test_dead_clients_do_not_delay_the_end(tmp_path):
    server = LiveServer(save_model(tmp_path / "model"), tmp_path, workers=1)
    for _ in range(50):
        client = server.socket()
        client.sendall(ASKED["many rows"])
        half_close_then_reset(client)
    server.process.terminate()
    assert server.process.wait(20) == 0  # gunicorn kills what takes 30 s
