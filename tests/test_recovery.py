"How a host that lost its deployer learns whether the deployment counts, from other hosts that are programs here."

import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import host_look, recover_at_boot, recovery
from ansible_collections.mlkit.deploy.plugins.module_utils import pending as waiting
from ansible_collections.mlkit.deploy.plugins.module_utils.failed import Failed

OURS, OTHER = "0123456789ab", "ba9876543210"


@pytest.fixture
def tells():
    "Starts a host that tells this, or, for None, one that is down; how it is reached."
    servers = []

    def start(name, told):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200 if self.path == "/.well-known/mlkit/deployment" else 404)
                self.end_headers()
                self.wfile.write(told.encode())

            def log_message(self, *_):
                "Nobody reads it."

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        host = {"name": name, "address": "127.0.0.1", "port": server.server_port, "tls": False}
        if told is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        return host

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "first, second, counts",
    [
        (f"{OURS}/-/", None, True),
        (f"{OURS}/-/", f"{OTHER}/-/", True),
        (f"{OTHER}/{OURS}/", f"{OTHER}/{OURS}/", None),
        (f"{OTHER}/-/", f"{OTHER}/{OURS}/", False),
        ("-/-/", None, False),
        (None, f"{OURS}/-/", True),
        (None, f"{OTHER}/-/", None),
        (None, None, None),
        ("it works!", None, None),
    ],
    ids=[
        "the first has recorded it",
        "also where others have not",
        "nobody has decided",
        "the first has given it up",
        "the first never had one",
        "another has recorded it",
        "only the first can give it up",
        "all are down",
        "somebody else has the port",
    ],
)
def test_the_first_host_decides_and_whoever_has_recorded_a_deployment_proves_it(
    tells, tmp_path, first, second, counts
):
    me = {"name": "h3", "address": "127.0.0.1", "port": 1, "tls": False}
    pending = {
        "deployment": OURS,
        "host": "h3",
        "hosts": [tells("h1", first), tells("h2", second), me],
    }
    assert recovery.decision(pending, str(tmp_path)) is counts


@pytest.mark.parametrize(
    "address, shown", [("h1.lan", "h1.lan"), ("10.0.0.7", "10.0.0.7"), ("fd00::7", "[fd00::7]")]
)
def test_a_host_is_asked_at_a_name_or_an_address_of_either_kind(address, shown):
    host = {"name": "h1", "address": address, "port": 8000, "tls": True}
    assert waiting.url_of(host) == f"https://{shown}:8000/.well-known/mlkit/deployment"


def test_the_first_host_gives_up_what_it_has_not_recorded(tmp_path):
    pending = {"deployment": OURS, "host": "h1", "hosts": [{"name": "h1"}, {"name": "h2"}]}
    assert recovery.decision(pending, str(tmp_path)) is False
    (tmp_path / "state.json").write_text(json.dumps({"format": "mlkit.state/1", "deployment": OURS}))
    assert recovery.decision(pending, str(tmp_path)) is True


def test_a_host_has_missed_what_was_meant_for_it_and_is_not_in_its_journal(tells, tmp_path):
    (tmp_path / "state.json").write_text(
        json.dumps({"format": "mlkit.state/1", "deployment": OURS, "host": "h2"})
    )
    line = json.dumps({"deployment": OURS, "outcome": "deployed"})
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    for_us, for_others = waiting.mark(OTHER, "h2"), waiting.mark(OTHER, "h3")
    for told, missed in [
        (f"{OTHER}/-/{for_others},{for_us}", True),
        (f"{OTHER}/-/{for_others}", False),
        (f"{OURS}/-/{waiting.mark(OURS, 'h2')}", False),
    ]:
        assert recovery.has_missed(str(tmp_path), [tells("h1", told)]) is missed, told


def test_a_deployment_that_lost_its_lock_takes_no_other_s_pending_away(tmp_path):
    (tmp_path / "pending.json").write_text(json.dumps({"format": waiting.FORMAT, "deployment": OTHER}))
    waiting.clear_pending("flights", str(tmp_path), OURS)
    assert waiting.read_pending(str(tmp_path))["deployment"] == OTHER


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"format": "mlkit.pending/2"}', "has the format 'mlkit.pending/2', expected 'mlkit.pending/1'"),
        ("[1]", "is not a record of a deployment"),
        ("{", "is not a record of a deployment"),
    ],
)
def test_what_another_mlkit_left_pending_is_refused_in_words(tmp_path, text, words):
    (tmp_path / "pending.json").write_text(text)
    with pytest.raises(Failed, match="pending.json") as refused:
        waiting.read_pending(str(tmp_path))
    assert words in str(refused.value) and "move the file away" in str(refused.value)


def test_the_program_that_a_host_runs_at_boot_needs_nothing_of_ansible(tmp_path, monkeypatch):
    monkeypatch.setattr(recover_at_boot, "PROGRAM", str(tmp_path))
    recover_at_boot.copy_program(recovery)
    program = (
        "import sys; sys.path = [path for path in sys.path if 'site-packages' not in path]; "
        f"sys.path.insert(0, {str(tmp_path)!r}); import ansible.module_utils.recovery as it; print(it.__file__)"
    )
    words = [sys.executable, "-I", "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(str(tmp_path)), done.stderr


def test_status_says_what_keeps_a_recorded_deployment_from_its_end_and_nothing_while_all_is_well(tmp_path):
    def told():
        return "".join(host_look.unended(str(tmp_path), waiting.read_pending(str(tmp_path))))

    pending = {"format": waiting.FORMAT, "deployment": OURS, "drain_seconds": 30, "stop_seconds": 30}
    pending |= {"begun": {"release": {"id": "flights-2-1a2b3c"}}, "hosts": [{"name": "h1"}]}
    (tmp_path / "pending.json").write_text(json.dumps(pending))
    assert told().startswith("in doubt: the deployment of flights-2-1a2b3c")
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"format": "mlkit.state/1", "deployment": OURS}))
    assert told() == ""
    waiting.note_trouble(str(tmp_path), "docker stop: no answer")
    assert told() == (
        "what flights-2-1a2b3c replaced is still here: docker stop: no answer; the host tries again every few seconds"
    )
    waiting.note_trouble(str(tmp_path), "")
    os.utime(state, (0, 0))
    assert "nothing on the host works on it any more; the next deployment removes it, or a reboot" in told()
