"What a host tells others of its deployments, by a real proxy."

import socket
import subprocess
import threading

import ansible.module_utils
import pytest
from conftest import ROOT
from eventually import eventually

for utilities in ("module_utils", "roles/service/module_utils"):  # as on a host
    ansible.module_utils.__path__.append(str(ROOT / "playbooks" / utilities))

from ansible.module_utils import pending as waiting  # noqa: E402

OURS, OTHER = "0123456789ab", "ba9876543210"


@pytest.fixture
def proxy(tmp_path):
    "A real proxy that tells what its map says; the map, its socket, and where it is asked."
    told, config = tmp_path / "told.map", tmp_path / "haproxy.cfg"
    told.write_text("")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config.write_text(
        f"global\n  stats socket {tmp_path}/s level admin\ndefaults\n  mode http\n  timeout client 5s\n"
        f"  timeout server 5s\n  timeout connect 5s\nlisten x\n  bind 127.0.0.1:{port}\n"
        f'  http-request return status 200 content-type text/plain lf-string "%[str(flights),map({told},-/-/)]"\n'
    )
    process = subprocess.Popen(["haproxy", "-db", "-f", config], stderr=subprocess.DEVNULL)
    host = {"name": "h1", "address": "127.0.0.1", "port": port, "tls": False}
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
