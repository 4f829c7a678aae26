"""A host with podman, beside one with docker in the same deployment: nobody who deploys or asks notices a difference."""

import json
import re
import shlex
from types import SimpleNamespace

import pytest
from conftest import ROOT
from deploy_lab import changed
from eventually import eventually
from fleeted import PORT, Fleeted
from laptop import Load

ROW = '{"rows":[{"distance":3,"carrier":"AA"}]}'
STATES = "podman inspect --format '{{.Name}} {{.State.Status}}' $(podman ps --all --quiet)"


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_fleet, base_images, ansible):
    "The first of two releases, live behind API keys on h1 (podman) and h2 (docker)."
    fleet = make_fleet(1, "podman")
    fleet("up", 2)
    lab = Fleeted(tmp_path_factory.mktemp("lab"), fleet, base_images, hosts=2, service_keys_file="keys")
    lab.key = new_key(lab)
    lab.model = lab.train(3)
    lab.first, lab.second = lab.release(lab.model), lab.release(lab.train(5))
    settings = [word for item in lab.settings.items() for word in ("-e", "=".join(map(str, item)))]

    def play(name, *words):
        words = ["-i", lab.folder / "inventory.ini", ROOT / f"playbooks/{name}.yml", *settings, *words]
        done = ansible("ansible-playbook", *words, check=False)
        return SimpleNamespace(code=done.returncode, output=done.stdout + done.stderr)

    lab.play = play
    lab.mlkit("deploy", "lab", lab.first)
    return lab


@pytest.fixture
def first(lab):
    "The first release is live."
    if lab.live() != lab.model:
        lab.mlkit("deploy", "lab", lab.first)
    return lab


def new_key(lab):
    words = lab.mlkit("key", "new", "shop", "--file", str(lab.folder / "keys")).stdout.split()
    return next(word for word in words if word.startswith("mlkit_"))


def load(lab):
    return Load(lab.address, PORT, key=lab.key)


def live(lab):
    "The release that each host says is live and ready."
    found = json.loads(lab.mlkit("status", "lab", "--json", check=False).stdout)
    assert found["drift"] == []
    return [host["services"][0]["release"] for host in found["hosts"]]


def containers(lab):
    "Name → state, on the podman host, once it has retired what was replaced."

    def one_runs():
        found = dict(line.split() for line in lab.fleet.ssh(1, STATES).splitlines())
        return found if list(found.values()).count("running") == 1 else None

    return eventually(one_runs)


def test_a_podman_host_and_a_docker_host_serve_one_release(first):
    assert live(first) == [first.first] * 2
    assert containers(first)["mlkit-flights-blue"] == "running"
    again = first.play("deploy", "-e", f"release={first.folder}/.mlkit/releases/{first.first}")
    assert again.code == 0 and changed(again.output) == 0, again.output


@pytest.fixture
def docker_on_h1(first):
    "Gives h1 another program under the name of docker."
    place = "/usr/local/bin/docker"

    def put(does):
        first.fleet.ssh(1, f"printf '#!/bin/sh\\n%s\\n' {shlex.quote(does)} > {place}; chmod +x {place}")

    yield put
    first.fleet.ssh(1, f"rm {place}")


def test_a_host_with_two_engines_is_asked_through_the_one_that_is_named(first, docker_on_h1):
    ready, h1 = f"flights: {first.first} ready", ("--limit", "h1")
    docker_on_h1('exec podman "$@"')  # as in Debian's podman-docker
    assert ready in first.play("status", *h1).output
    docker_on_h1("echo 'cannot connect to the daemon' >&2; exit 1")
    assert "no container engine answers there" in first.play("status", *h1).output
    assert ready in first.play("status", *h1, "-e", "engine_name=podman").output


def test_a_new_release_loses_no_request_and_only_its_model_is_sent(first):
    with load(first) as asked:
        played = first.play("deploy", "-v", "-e", f"release={first.folder}/.mlkit/releases/{first.second}")
    assert played.code == 0, played.output
    assert not asked.failures and len(set(asked.models)) == 2
    sent = list(map(int, re.findall(r'"sent_bytes": (\d+)', played.output)))
    whole = (first.folder / f".mlkit/releases/{first.second}/image.tar").stat().st_size
    assert len(sent) == 2 and sent[0] == sent[1] < whole / 1000
    with load(first) as asked:
        first.mlkit("rollback", "lab")
    assert not asked.failures and live(first) == [first.first] * 2


def test_after_a_power_cut_the_live_release_serves_again_and_no_other_starts(first):
    before = containers(first)
    first.fleet("kill", 1)
    first.fleet("start", 1)
    eventually(lambda: first.ask()[0] == 200)
    assert live(first) == [first.first] * 2
    assert containers(first) == before


@pytest.mark.parametrize(
    "broken, cause",
    [
        ("exits at start", "exited at start with code 3"),
        ("wrong after the first answer", "golden rows differ: row 0"),
    ],
)
def test_a_broken_release_is_taken_back(first, release, broken, cause):
    bad, before = release(3, broken), containers(first)
    played = first.play("deploy", "-e", f"release={bad}")
    assert played.code == 2 and f"cause: {cause}" in played.output, played.output
    assert live(first) == [first.first] * 2
    running = [name for name, state in containers(first).items() if state == "running"]
    assert running == [name for name, state in before.items() if state == "running"]
    assert bad.name not in first.fleet.ssh(1, "ls /var/lib/mlkit/flights/releases; podman images")


def test_a_container_that_dies_comes_back(first):
    [name] = [name for name, state in containers(first).items() if state == "running"]
    first.fleet.ssh(1, f"kill -9 $(podman inspect -f '{{{{.State.Pid}}}}' {name})")
    eventually(lambda: first.fleet.ssh(1, f"podman inspect -f '{{{{.RestartCount}}}}' {name}") == "1")
    eventually(lambda: first.ask()[0] == 200)


def test_containers_of_others_that_come_and_go_lose_no_request(first):
    network = "podman network inspect mlkit-closed"
    bridge = json.loads(first.fleet.ssh(1, network))[0]["network_interface"]
    address = f"cat /sys/class/net/{bridge}/address"
    before, image = first.fleet.ssh(1, address), "$(podman images --quiet | head -n 1)"
    with load(first) as asked:
        for _ in range(6):  # each has an even chance of the lowest address
            first.fleet.ssh(
                1,
                f"podman run --detach --rm --network mlkit-closed --name other --entrypoint sleep {image} 1000",
            )
            assert first.fleet.ssh(1, address) == before
            first.fleet.ssh(1, "podman rm --force --time 0 other")
    assert not asked.failures


def test_a_key_is_changed_without_a_restart(first):
    before, old = first.fleet.ssh(1, "podman ps --quiet --no-trunc"), first.key
    first.key = new_key(first)
    lines = (first.folder / "keys").read_text().splitlines(keepends=True)
    (first.folder / "keys").write_text(lines[-1])
    first.mlkit("key", "send", "lab")
    eventually(lambda: first.ask("/predict", ROW, key=first.key)[0] == 200)
    eventually(lambda: first.ask("/predict", ROW, key=old)[0] == 401)
    assert first.fleet.ssh(1, "podman ps --quiet --no-trunc") == before


def test_logs_commands_and_the_journal_know_no_difference(first):
    lines = first.mlkit("exec", "lab", "--", "sh", "-c", "echo $MLKIT_RELEASE").stdout.splitlines()
    assert sorted(lines) == [f"h1  {first.first}", f"h2  {first.first}"]
    said = first.mlkit("logs", "lab", "-n", "3").stdout
    assert "h1  " in said and "h2  " in said
    assert "as they were written" in first.mlkit("journal", "lab", "--verify").stdout
