"What a host tells others of its deployments, by a real proxy."

import os
import signal
import subprocess
import threading

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import pending as waiting
from ansible_collections.mlkit.deploy.plugins.module_utils import proxy_config
from eventually import eventually
from laptop import free_port

OURS, OTHER = "0123456789ab", "ba9876543210"


def configured(tmp_path):
    "The configuration of a proxy that tells what its map says: its file, the map's, and where it is asked."
    told, config, port = tmp_path / "told.map", tmp_path / "haproxy.cfg", free_port()
    told.write_text("")
    config.write_text(
        f"global\n  stats socket {tmp_path}/s level admin expose-fd listeners\ndefaults\n  mode http\n  timeout client 5s\n"
        f"  timeout server 5s\n  timeout connect 5s\nlisten x\n  bind 127.0.0.1:{port}\n"
        f'  http-request return status 200 content-type text/plain lf-string "%[str(flights),map({told},-/-/)]"\n'
    )
    return config, told, {"name": "h1", "address": "127.0.0.1", "port": port, "tls": False}


@pytest.fixture
def proxy(tmp_path):
    "A real proxy that tells what its map says; the map, its socket, and where it is asked."
    config, told, host = configured(tmp_path)
    process = subprocess.Popen(["haproxy", "-db", "-f", config], stderr=subprocess.DEVNULL)
    eventually(lambda: waiting.told_by(host))
    yield str(told), f"{tmp_path}/s", host
    process.terminate()
    process.wait()


def test_who_asks_while_it_changes_hears_the_old_or_the_new_and_never_that_there_is_nothing(proxy):
    told, place, host = proxy
    waiting.tell_proxy("flights", f"{OTHER}/{OURS}/", place, told)
    heard, done = [], threading.Event()

    def ask():
        while not done.is_set():
            heard.append(waiting.told_by(host).recorded)

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(200):
        for recorded in (OURS, OTHER):
            waiting.tell_proxy("flights", f"{recorded}/-/", place, told)
    done.set()
    asking.join()
    assert set(heard) <= {OURS, OTHER} and len(heard) > 20
    waiting.tell_proxy("flights", None, place, told)
    assert waiting.told_by(host) == ("-", "-", "")


@pytest.fixture
def service(tmp_path, monkeypatch):
    "A host's proxy that is started and reloaded as by Debian's init script; the map, and where it is asked."
    config, told, host = configured(tmp_path)
    program = tmp_path / "service"
    start = f"exec haproxy -D -f {config} -p {tmp_path}/pid"
    program.write_text(
        f'#!/bin/sh\n[ "$2" = start ] || set -- -x {tmp_path}/s -sf $(cat {tmp_path}/pid)\n[ "$2" != start ] || shift 2\n{start} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(proxy_config, "SOCKET", f"{tmp_path}/s")
    subprocess.run(["service", "haproxy", "start"], check=True)
    monkeypatch.setattr(proxy_config, "processes", lambda: (tmp_path / "pid").read_text().split())
    yield str(told), host
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_what_is_told_right_after_a_reload_reaches_the_new_process(service):
    told, host = service
    for number in range(30):
        proxy_config.reload()
        deployment = f"{number:012x}"
        waiting.tell_proxy("flights", f"{deployment}/-/", proxy_config.SOCKET, told)
        eventually(lambda deployment=deployment: waiting.told_by(host).recorded == deployment)
