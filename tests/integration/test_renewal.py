"While workers are renewed, somebody always answers: old ones go on until a new one serves."

import os
import signal
import threading
import time

import pytest
from eventually import eventually
from live_server import PLAIN, LiveServer, save_model


def test_a_reload_leaves_no_gap_and_costs_no_request(tmp_path):
    server = LiveServer(save_model(tmp_path / "model"), tmp_path)
    old = {worker.pid for worker in server.workers()}
    gaps, failures, done = [], [], threading.Event()

    def ask():
        last = time.monotonic()
        while not done.is_set():
            connection = server.connect()  # each request its own: it must be accepted now
            try:
                connection.request("POST", "/predict", PLAIN, {"Content-Type": "application/json"})
                assert connection.getresponse().status == 200
            except Exception as error:
                failures.append(repr(error))
            connection.close()
            gaps.append(time.monotonic() - last)
            last = time.monotonic()

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: not old & {worker.pid for worker in server.workers()}, 60)
    done.set()
    for client in clients:
        client.join()
    server.stop()
    assert failures == [] and len(gaps) > 100


def test_old_workers_answer_while_new_ones_cannot(tmp_path):
    server = LiveServer(save_model(tmp_path / "model"), tmp_path)
    old = {worker.pid for worker in server.workers()}
    server.process.send_signal(signal.SIGHUP)
    eventually(lambda: {worker.pid for worker in server.workers()} - old)
    new = {worker.pid for worker in server.workers()} - old
    for pid in new:
        os.kill(pid, signal.SIGSTOP)
    try:
        if not all(server.get("/readyz")[0] == 200 for _ in range(20)):
            pytest.fail("nobody answered")
    finally:
        for pid in new:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: not old & {worker.pid for worker in server.workers()}, 60)
    server.stop()
