"""What breaks in the middle of a deployment: a host, its network, the deployer, ssh, a second deployer.

The fault comes when a step begins, which ansible-playbook tells; bench/deploy/faults.py goes through all steps.
"""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, cannot_run
from deploy_lab import PORT, Load, changed, model_in
from eventually import eventually

PREPARE = "Start the new container, and let it prove itself"
SWITCH = "Lead the clients to the new container"
COMMIT = "Record it on the first host"
RECORD = "Record the deployment, or take it back"


@pytest.fixture
def deploying(hosts):
    "Starts deployments to h1 and h2, and stops those that a test leaves running."
    started, program = [], Path(sys.executable).parent / "ansible-playbook"

    def start(release, *more):
        words = ["-e", f"release={release}", "-e", "deploy_batch=1", "--limit", "h1:h2", *more]
        process = subprocess.Popen(
            [program, "-i", hosts.fleet.inventory, ROOT / "playbooks/deploy.yml", *words],
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PATH": f"{program.parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    hosts.fleet.restore()
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def last_client(address):
    "A client that has begun to ask the release that is live now; gives what sends the rest, and says which model answers."
    connection, body = http.client.HTTPConnection(address, PORT, timeout=10), b'{"rows": [{"x": 1.5}]}'
    connection.putrequest("POST", "/predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:5])

    def end():
        connection.send(body[5:])
        return json.load(connection.getresponse())["model"]

    yield end
    connection.close()


def until(process, task):
    "Read on until a task begins."
    for line in process.stdout:
        if line.startswith("TASK [") and task in line:
            return
    pytest.fail(f"the deployment ended before {task!r}")


@pytest.mark.parametrize("fault, task", [("kill", SWITCH), ("cut", PREPARE)])
def test_a_host_that_is_lost_in_the_middle_ends_the_deployment_and_the_other_serves_on(
    hosts, both_serving, other, deploying, fault, task
):
    with Load(hosts.fleet.address(1)) as load:
        process = deploying(other)
        until(process, task)
        hosts.fleet(fault, 2)
        said = process.stdout.read()
        assert process.wait() == 2, said
        hosts.fleet.restore()
        played = hosts.deploy(other, limit="h1:h2")
    assert played.code == 0, played.output
    assert load.failures == [] and [hosts.live(number) for number in (1, 2)] == [model_in(other)] * 2


def test_a_host_that_loses_power_after_its_switch_comes_back_with_the_old_release(
    hosts, both_serving, other, deploying
):
    process = deploying(other, "-e", "service_watch_seconds=10", "-e", "deploy_batch=2")
    until(process, SWITCH)
    eventually(lambda: hosts.live(2) == model_in(other))
    hosts.fleet("kill", 2)
    said = process.stdout.read()
    assert process.wait() == 2, said
    hosts.fleet.restore()
    eventually(lambda: hosts.live(2) == model_in(both_serving), seconds=30)
    assert hosts.live(1) == model_in(both_serving)


def test_a_host_that_loses_power_while_the_others_record_records_it_by_itself(
    hosts, both_serving, other, deploying
):
    with Load(hosts.fleet.address(1)) as load:
        process = deploying(other)
        until(process, COMMIT)  # then it is recorded on the first host, and the others follow
        hosts.fleet("kill", 2)
        said = process.stdout.read()
        assert process.wait() == 4 and "It records the release by itself when it is back" in said, said
        hosts.fleet.restore()
        eventually(lambda: hosts.serves(2) == model_in(other), seconds=30)
    assert load.failures == [] and hosts.live(1) == model_in(other)
    eventually(lambda: "by itself" in hosts.journal(2)[-1]["reason"])
    assert hosts.journal(2)[-1]["outcome"] == "deployed"
    hosts.only_container(2)
    assert "DRIFT" not in hosts.play("status", "--limit", "h1:h2").output


def test_the_deployer_does_not_wait_for_the_last_clients_of_the_old_container(hosts, both_serving, other):
    with last_client(hosts.fleet.address(1)) as answer:
        played = hosts.deploy(other, "-e", "proxy_drain_seconds=60", limit="h1:h2")
        assert played.code == 0, played.output
        assert (
            sum(hosts.containers(1).values()) == 2
            and "DRIFT" not in hosts.play("status", "--limit", "h1").output
        )
        again = hosts.deploy(
            other, "-e", "proxy_drain_seconds=60", limit="h1:h2"
        )  # does not wait for it, either
        assert again.code == 0 and changed(again.output) == 0 and sum(hosts.containers(1).values()) == 2
        assert answer() == model_in(both_serving)
    for number in (1, 2):
        labels = hosts.fleet.ssh(
            number, f"docker inspect -f '{{{{.Config.Labels}}}}' {hosts.only_container(number)}"
        )
        assert f"mlkit.release:{other.name}" in labels
    eventually(hosts.is_retired)


def test_what_is_live_comes_back_with_its_engine_and_at_boot_and_nothing_else(hosts, both_serving, other):
    assert hosts.deploy(other).code == 0
    eventually(hosts.is_retired)
    live = hosts.only_container()
    assert len(hosts.containers()) == 2 and hosts.comes_back() == [live]
    for again in (
        "pkill -9 -x dockerd; while pgrep -x dockerd; do sleep 0.1; done; service docker start",
        "service docker restart",
        "",  # a power cut
    ):
        hosts.fleet.ssh(1, again) if again else (hosts.fleet("kill", 1), hosts.fleet.restore())
        eventually(lambda: hosts.serves(1) == model_in(other))
        assert hosts.containers()[live] and sum(hosts.containers().values()) == 1, again


@pytest.mark.parametrize("ends", ["the next deployment", "the next boot"])
def test_what_a_crash_kept_from_being_retired_is_told_and_goes_later(
    hosts, both_serving, other, release, ends
):
    with last_client(hosts.fleet.address(1)):
        played = hosts.deploy(other, "-e", "proxy_drain_seconds=60", limit="h1:h2")
        assert played.code == 0, played.output
        hosts.fleet.ssh(1, "kill -9 $(pgrep -P 1 -x python3)")
    hosts.fleet.ssh(1, "touch -d '1 hour ago' /var/lib/mlkit/flights/state.json")
    assert f"what {other.name} replaced is still here" in hosts.play("status", "--limit", "h1").output
    assert sum(hosts.containers(1).values()) == 2 and len(hosts.comes_back()) == 1
    if ends == "the next boot":
        hosts.fleet("kill", 1)
        hosts.fleet.restore()
        eventually(lambda: hosts.serves(1) == model_in(other))
    else:
        assert hosts.deploy(both_serving, limit="h1:h2").code == 0
    hosts.only_container(1)
    eventually(lambda: "DRIFT" not in hosts.play("status", "--limit", "h1").output)


def test_while_the_host_that_decides_is_down_the_others_serve_and_ask_until_it_can_say(
    hosts, both_serving, other, deploying
):
    with Load(hosts.fleet.address(2)) as load:
        process = deploying(other)
        until(process, COMMIT)
        hosts.fleet("kill", 1)
        said = process.stdout.read()
        assert process.wait() == 2 and "in doubt" in said, said
        eventually(lambda: "flights: DRIFT: in doubt" in hosts.play("status", "--limit", "h2").output)
        hosts.fleet.restore()
        eventually(lambda: hosts.serves(1) == hosts.serves(2) != "", seconds=30)
        eventually(lambda: "DRIFT" not in hosts.play("status", "--limit", "h1:h2").output, seconds=30)
    assert load.failures == []
    assert hosts.deploy(other, limit="h1:h2").code == 0


def test_a_host_that_missed_a_deployment_stays_out_of_the_balancer_until_the_next_one(
    hosts, both_serving, other
):
    def ready():
        connection = http.client.HTTPConnection(hosts.fleet.address(2), PORT, timeout=10)
        connection.request("GET", "/readyz")
        return connection.getresponse().status

    hosts.fleet("kill", 2)
    hosts.fleet.restore()
    eventually(lambda: ready() == 200)  # it has missed nothing
    hosts.fleet("kill", 2)
    assert hosts.deploy(other, limit="h1:h2").code == 4
    hosts.fleet.restore()
    eventually(lambda: ready() == 503)
    assert "OUT of the balancer" in hosts.play("status", "--limit", "h2").output
    assert hosts.deploy(other, limit="h1:h2").code == 0
    assert hosts.live(2) == model_in(other)
    assert "DRIFT" not in hosts.play("status", "--limit", "h1:h2").output


def test_hosts_go_back_by_themselves_when_their_deployer_dies_and_the_lock_runs_out(
    hosts, both_serving, other, deploying
):
    with Load(hosts.fleet.address(1)) as load:
        process = deploying(other, "-e", "service_lock_seconds=25")
        until(process, COMMIT)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        eventually(lambda: [hosts.journal(each)[-1]["outcome"] for each in (1, 2)] == ["went back"] * 2, 120)
        eventually(lambda: all(sum(hosts.containers(each).values()) == 1 for each in (1, 2)), 120)
    assert load.failures == [] and model_in(other) in load.answers
    assert [hosts.live(number) for number in (1, 2)] == [model_in(both_serving)] * 2
    assert all(hosts.comes_back(each) == [hosts.only_container(each)] for each in (1, 2))
    status = hosts.play("status", "--limit", "h1:h2").output
    assert "DRIFT" not in status and "locked" not in status


def test_the_old_container_answers_when_the_new_one_dies_after_the_switch(
    hosts, both_serving, other, deploying
):
    with Load(hosts.fleet.address(2)) as load:
        process = deploying(other, "-e", "service_watch_seconds=10", "-e", "deploy_batch=2")
        until(process, SWITCH)
        eventually(lambda: model_in(other) in load.answers)
        hosts.fleet.ssh(2, "docker kill $(docker ps -q --filter label=mlkit.release=" + other.name + ")")
        said = process.stdout.read()
    assert process.wait() == 2, said
    assert "refused while it answered live requests: " in said, said
    # what the new one was answering when it died, and what the engine's own proxy still took for it until that was gone, too:
    # on a busy machine some tenths of a second of requests
    assert len(load.failures) <= 5 * len(load.threads), load.failures
    assert [hosts.live(number) for number in (1, 2)] == [model_in(both_serving)] * 2


@pytest.mark.parametrize(
    "happens, stays",
    [
        ("rm", False),
        (r"""sed -i 's/"owner": "[^"]*"/"owner": "ann@desk"/; s/"token": "[^"]*"/"token": "t"/'""", True),
    ],
    ids=["nobody has it", "another has it"],
)
def test_a_lock_that_is_lost_after_the_switch_is_taken_back_unless_another_has_it(
    hosts, both_serving, other, deploying, happens, stays
):
    process = deploying(other, "-e", "service_watch_seconds=10", "-e", "deploy_batch=2")
    until(process, SWITCH)
    eventually(lambda: hosts.live(2) == model_in(other))
    hosts.fleet.ssh(2, f"{happens} /var/lib/mlkit/flights/lock.json")
    said = process.stdout.read()
    hosts.fleet.ssh(2, "rm -f /var/lib/mlkit/flights/lock.json")
    assert process.wait() == 2 and "cause: the lock was lost: " in said, said
    assert [hosts.live(number) for number in (1, 2)] == [
        model_in(both_serving),
        model_in(other if stays else both_serving),
    ]


@pytest.mark.parametrize("task", [PREPARE, SWITCH, RECORD])
def test_a_deployer_that_is_killed_leaves_a_fleet_that_serves_and_takes_the_next(
    hosts, both_serving, other, deploying, task
):
    with Load(hosts.fleet.address(1)) as load:
        process = deploying(other)
        until(process, task)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert {hosts.live(number) for number in (1, 2)} <= {model_in(both_serving), model_in(other)}
        played = hosts.deploy(other, limit="h1:h2")
    assert played.code == 0, played.output
    assert load.failures == [] and [hosts.live(number) for number in (1, 2)] == [model_in(other)] * 2


def test_of_two_deployers_at_once_one_wins_and_the_other_is_told(
    hosts, both_serving, other, release, deploying
):
    one, two = deploying(other), deploying(release(3))
    said = {model_in(other): one.communicate()[0], model_in(release(3)): two.communicate()[0]}
    codes = {model_in(other): one.returncode, model_in(release(3)): two.returncode}
    winner, loser = sorted(codes, key=codes.get)
    assert codes[winner] == 0 and codes[loser] == 2, said
    assert "cause: locked: " in said[loser]
    assert [hosts.live(number) for number in (1, 2)] == [winner] * 2


@pytest.fixture
def clock_off(hosts, tmp_path):
    "Makes an inventory in which the programs that Ansible runs on h2, and what they start, have another time."

    def make(offset):
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None) or cannot_run(
            "libfaketime is not installed"
        )
        hosts.fleet.copy(library, 2, "/root/libfaketime.so.1")
        program = f'exec env LD_PRELOAD=/root/libfaketime.so.1 FAKETIME={offset} /usr/bin/python3 "$@"'
        (tmp_path / "python").write_text(f"#!/bin/sh\n{program}\n")
        hosts.fleet.copy(tmp_path / "python", 2, "/root/python")
        hosts.fleet.ssh(2, "chmod +x /root/python")
        told = hosts.fleet.ssh(2, "/root/python -c 'import time; print(int(time.time()))'; date +%s").split()
        assert abs(int(told[0]) - int(told[1])) > 3500
        inventory = tmp_path / "inventory.ini"
        lines = hosts.fleet.inventory.read_text()
        inventory.write_text(
            re.sub("^(h2 .*)", r"\1 ansible_python_interpreter=/root/python", lines, flags=re.M)
        )
        return inventory

    return make


@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_a_host_whose_clock_is_an_hour_off_is_deployed_to_and_rolled_back_like_any_other(
    hosts, both_serving, other, clock_off, offset
):
    both = {"inventory": clock_off(offset)}
    with Load(hosts.fleet.address(2)) as load:
        words = ["-e", f"release={other}", "--limit", "h1:h2"]
        deployed = hosts.play("deploy", *words, **both)
        rolled_back = hosts.play("rollback", "-e", "service=flights", "--limit", "h1:h2", **both)
    assert deployed.code == 0 and rolled_back.code == 0, deployed.output + rolled_back.output
    assert load.failures == [] and load.answers.keys() == {model_in(both_serving), model_in(other)}
    journal = hosts.play("journal", "-e", "service=flights", "--limit", "h2")
    assert journal.code == 0 and "DRIFT" not in hosts.play("status", "--limit", "h1:h2", **both).output


def is_silent(address):
    "Whether sshd takes a connection and says nothing."
    with socket.create_connection((address, 22), timeout=5) as link:
        link.settimeout(0.5)
        try:
            return not link.recv(1)
        except TimeoutError:
            return True


def test_a_host_whose_ssh_hangs_is_skipped_like_one_that_is_down(hosts, both_serving, other):
    # every sshd of the host, also those of connections that are still open, once this session has ended
    hosts.fleet.ssh(2, "nohup sh -c 'sleep 1; pkill -STOP sshd' >/dev/null 2>&1 &")
    eventually(lambda: is_silent(hosts.fleet.address(2)))
    try:
        played = hosts.deploy(other, limit="h1:h2")
    finally:
        hosts.fleet("kill", 2)
        hosts.fleet.restore()
    assert played.code == 4 and "[h2]: UNREACHABLE!" in played.output
    assert hosts.live() == model_in(other)
    assert hosts.deploy(other, limit="h1:h2").code == 0 and hosts.live(2) == model_in(other)
