"""Deploying for real: a host with its own sshd, engine and proxy, and a dummy service that can be told to be broken.

A test takes its seconds: each runs the playbooks as a person would, from a shell.
"""

import http.client
import json
import os
import re
import shutil
import signal
import tarfile
from pathlib import Path

import pytest
from conftest import ROOT
from deploy_lab import PORT, Hosts, Load, changed, model_in, model_of
from eventually import eventually


def test_a_fresh_host_answers_through_the_proxy_after_one_command(hosts, release):
    played = hosts.deploy(release(1), limit="h2")
    assert played.code == 0, played.output
    assert hosts.live(2) == model_of(1)
    assert [entry["outcome"] for entry in hosts.journal(2)] == ["deployed"]


def test_the_container_can_do_nothing_but_answer(hosts, serving):
    name = hosts.only_container()
    seen = json.loads(hosts.fleet.ssh(1, f"docker inspect {name}"))[0]
    limits = seen["HostConfig"]
    assert seen["Config"]["User"] == "10001:10001"
    assert limits["ReadonlyRootfs"] and limits["CapDrop"] == ["ALL"]
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert limits["Memory"] == 512 * 1024**2 and limits["PidsLimit"] == 256
    assert limits["RestartPolicy"]["Name"] == "always"
    assert limits["PortBindings"]["8000/tcp"][0]["HostIp"] == "127.0.0.1"
    labels = seen["Config"]["Labels"]
    assert labels["mlkit.service"] == "flights" and labels["mlkit.release"] == serving.name


def test_deploying_again_changes_nothing(hosts, serving):
    before = hosts.journal()
    played = hosts.deploy(serving)
    assert played.code == 0 and changed(played.output) == 0, played.output
    assert hosts.journal() == before


def test_check_mode_says_what_would_happen_and_does_nothing(hosts, serving, other):
    played = hosts.deploy(other, "--check")
    assert played.code == 0 and changed(played.output) == 1, played.output
    assert f"{other.name} goes to" in played.output
    assert hosts.live() == model_in(serving)


def test_a_changed_setting_is_not_overlooked(hosts, serving):
    played = hosts.deploy(serving, "-e", "service_memory=400m")
    assert played.code == 0 and changed(played.output) > 0, played.output
    name = hosts.only_container()
    assert hosts.fleet.ssh(1, f"docker inspect --format '{{{{.HostConfig.Memory}}}}' {name}") == str(
        400 * 1024**2
    )


def test_a_new_release_and_a_rollback_lose_no_request(hosts, serving, other):
    with Load(hosts.fleet.address(1)) as load:
        deployed = hosts.deploy(other)
        rolled_back = hosts.play("rollback", "-e", "service=flights", "--limit", "h1")
    assert deployed.code == 0, deployed.output
    assert rolled_back.code == 0, rolled_back.output
    assert load.failures == []
    assert load.answers.keys() == {model_in(serving), model_in(other)}
    assert hosts.live() == model_in(serving)
    assert [entry["outcome"] for entry in hosts.journal()][-2:] == ["deployed", "rolled back"]


STRANGER = """- hosts: hosts
  gather_facts: false
  roles:
    - role: mlkit.deploy.service
      vars: {service_release_folder: "{{ folder }}"}
  post_tasks:
    - name: Ask whether the lock is free
      mlkit.deploy.service_lock: {path: /var/lib/mlkit/flights/lock.json, state: free}
"""


def test_a_playbook_of_somebody_else_needs_the_collection_alone(hosts, serving, other, tmp_path):
    collection = ROOT / "playbooks/collections/ansible_collections/mlkit/deploy"
    hosts.ansible("ansible-galaxy", "collection", "build", collection, "--output-path", tmp_path)
    (built,) = tmp_path.glob("mlkit-deploy-*.tar.gz")
    hosts.ansible(
        "ansible-galaxy", "collection", "install", built, "-p", tmp_path / "collections", "--offline"
    )
    playbook = tmp_path / "site.yml"
    playbook.write_text(STRANGER)

    def play(*words):
        start = ("-i", hosts.fleet.inventory, playbook, "--limit", "h1", "-e", f"folder={other}")
        done = hosts.ansible("ansible-playbook", *start, *words)
        assert "TASK [Ask whether the lock is free]" in done.stdout, done.stdout
        return changed(done.stdout)

    with Load(hosts.fleet.address(1)) as load:
        assert play() > 0 and hosts.live() == model_in(other)
        assert play() == 0
        assert play("-e", "service_rollback=true", "-e", "service=flights") > 0
    assert hosts.live() == model_in(serving) and load.failures == []


def test_a_request_that_runs_during_the_switch_is_finished_by_the_old_release(hosts, serving, other):
    connection = http.client.HTTPConnection(hosts.fleet.address(1), PORT, timeout=60)
    connection.request("POST", "/predict", json.dumps({"rows": [{"x": 1.5, "sleep": 25}]}))
    played = hosts.deploy(other)
    answer = connection.getresponse()
    assert played.code == 0, played.output
    assert answer.status == 200 and json.load(answer)["model"] == model_in(serving)


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ("exits at start", "exited at start with code 3"),
        ("never ready", "not ready in time: after 6 s (service_ready_seconds) /readyz answered 503"),
        ("wrong digest", f"wrong model: the release promises {model_of(3)}, /readyz says sha256:{'0' * 64}"),
        ("wrong golden answer", "golden rows differ: row 0 (counted from 0) should give"),
    ],
)
def test_a_broken_release_never_gets_traffic(hosts, serving, release, broken, cause):
    bad = release(3, broken)
    patience = 6 if broken == "never ready" else 60  # the others are found out by what they do
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(bad, "-e", f"service_ready_seconds={patience}")
    assert played.code == 2, played.output
    assert f"{bad.name} did not go live on h1." in played.output
    assert f"cause: {cause}" in played.output
    assert f"still serving: {serving.name}" in played.output
    assert load.failures == []
    assert load.answers.keys() == {model_in(serving)}
    last = hosts.journal()[-1]
    assert last["outcome"] == "failed" and last["release"] == bad.name and cause in last["reason"]
    assert bad.name not in hosts.fleet.ssh(1, "ls /var/lib/mlkit/flights/releases; docker images")


def test_a_release_that_fails_behind_the_proxy_is_switched_back(hosts, serving, release):
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(release(3, "wrong after the first answer"))
    assert played.code == 2 and "cause: golden rows differ: row 0" in played.output, played.output
    assert load.failures == []
    assert hosts.live() == model_in(serving)
    assert hosts.journal()[-1]["outcome"] == "failed"


def test_a_first_release_that_fails_leaves_nothing_behind(hosts, release):
    played = hosts.deploy(release(3, "wrong after the first answer"), limit="h3")
    assert played.code == 2 and "still serving: nothing, it was the first of its name" in played.output, (
        played.output
    )
    assert hosts.containers(3) == {}
    assert hosts.fleet.ssh(3, "ss -Hltn 'sport = :8000'") == ""


def test_the_last_words_of_a_failed_container_are_printed(hosts, serving, release):
    played = hosts.deploy(release(3, "exits at start"))
    assert "cannot load the model: bundle.json is missing" in played.output


def test_a_taken_port_is_named(hosts, serving):
    process = hosts.fleet.ssh(1, "setsid python3 -m http.server 8010 >/dev/null 2>&1 </dev/null & echo $!")
    try:
        eventually(lambda: hosts.fleet.ssh(1, "ss -Hltn 'sport = :8010'"))
        played = hosts.deploy(serving, "-e", '{"service_ports": {"flights": 8010}}')
    finally:
        hosts.fleet.ssh(1, f"kill {process}")
    assert played.code == 2, played.output
    assert "cause: port taken: another program listens on port 8010, which flights needs" in played.output
    assert hosts.live() == model_in(serving)


def test_a_full_disk_is_named(hosts, serving, release):
    hosts.fleet.ssh(1, "mkdir -p /mnt/kept && cp -a /var/lib/mlkit/. /mnt/kept/")
    hosts.fleet.ssh(1, "mount -t tmpfs -o size=12m tmpfs /var/lib/mlkit && cp -a /mnt/kept/. /var/lib/mlkit/")
    try:
        small = hosts.deploy(release(4))
        hosts.fleet.ssh(1, "dd if=/dev/zero of=/var/lib/mlkit/full 2>/dev/null || true")
        none = hosts.deploy(release(4))
    finally:
        hosts.fleet.ssh(1, "umount /var/lib/mlkit; rm -r /mnt/kept")
    few = r"cause: disk full: on the host, /var/lib/mlkit/flights/incoming has [\d.]+ MB free of the 1[89]\.\d MB that are"
    assert small.code == 2 and re.search(few + r" needed: [\d.]+ MB are lacking", small.output), small.output
    said = "cause: disk full: on the host, /var/lib/mlkit has 0.0 MB free; free some there"
    assert none.code == 2 and said in none.output, none.output
    assert hosts.live() == model_in(serving)


def test_an_archive_that_is_no_image_is_named(hosts, serving, other, tmp_path):
    bad = tmp_path / "flights-4-0123456789ab"
    bad.mkdir()
    record = json.loads((other / "release.json").read_text())
    record["id"], record["image"]["id"] = bad.name, "sha256:" + "4" * 64
    (bad / "release.json").write_text(json.dumps(record))
    (bad / "golden.json").write_bytes((other / "golden.json").read_bytes())
    (bad / "image.tar").write_bytes(b"half an archive")
    played = hosts.deploy(bad)
    assert played.code == 2 and "cause: image could not be loaded: " in played.output, played.output
    assert hosts.live() == model_in(serving)


def test_an_engine_that_refuses_the_image_is_not_taken_for_one_that_has_it(make_fleet, ansible, release):
    "On a fresh host, which was sent all layers: there is nothing more to try."
    fresh = Hosts(make_fleet(1), ansible)
    fresh.fleet.ssh(
        1,
        'mv /usr/bin/docker /usr/bin/docker.real; printf \'#!/bin/sh\n[ "$1" != load ] || { echo no room >&2; exit 1; }\n'
        'exec /usr/bin/docker.real "$@"\n\' > /usr/bin/docker; chmod +x /usr/bin/docker',
    )
    played = fresh.deploy(release(1))
    assert played.code == 2 and "cause: image could not be loaded: no room" in played.output, played.output
    assert fresh.containers() == {}


def test_a_layer_that_was_changed_is_refused_and_not_sent_for_ever(hosts, serving, release, tmp_path):
    tampered = Path(shutil.copytree(release(6), tmp_path / release(6).name))
    with tarfile.open(tampered / "image.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        payload = archive.getmember(manifest["Layers"][-1]).offset_data + 1_000_000
    with open(tampered / "image.tar", "r+b") as file:
        file.seek(payload)
        byte = file.read(1)
        file.seek(payload)
        file.write(bytes([byte[0] ^ 1]))
    played = hosts.deploy(tampered)
    assert (
        played.code == 2 and "cause: image could not be loaded: a sent layer is not sha256:" in played.output
    )
    assert hosts.live() == model_in(serving)


def test_a_cut_off_deployment_is_mended_by_the_next(hosts, serving, other):
    "Cut between the switch and the record, the state names the old container and the proxy the new one."
    state = hosts.fleet.ssh(1, "cat /var/lib/mlkit/flights/state.json")
    assert hosts.deploy(other).code == 0
    eventually(hosts.is_retired)
    hosts.fleet.ssh(1, f"echo '{state}' > /var/lib/mlkit/flights/state.json")
    assert "a deployment was cut off" in hosts.play("status", "--limit", "h1").output
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(serving)
    assert played.code == 0, played.output
    assert load.failures == [] and hosts.live() == model_in(serving)


def test_rollback_without_anything_before_it_says_what_is_kept(hosts, release):
    hosts.deploy(release(1), limit="h2")
    played = hosts.play("rollback", "-e", "service=flights", "--limit", "h2")
    assert played.code == 2
    assert (
        f"flights has no good release before {release(1).name} here; kept: {release(1).name}" in played.output
    )


def test_only_the_newest_releases_are_kept(hosts, serving, other):
    played = hosts.deploy(other, "-e", "service_keep_releases=1")
    assert played.code == 0, played.output
    eventually(hosts.is_retired)
    assert hosts.fleet.ssh(1, "ls /var/lib/mlkit/flights/releases") == other.name
    assert hosts.fleet.ssh(1, "docker images --format '{{.Tag}}'") == other.name.removeprefix("flights-")


def test_status_names_what_is_live(hosts, serving):
    played = hosts.play("status", "--limit", "h1")
    assert played.code == 0 and f"flights: {serving.name} ready; port {PORT} -> " in played.output


def test_a_host_that_is_down_is_skipped_and_brought_up_to_date_by_the_next_run(hosts, serving, release):
    hosts.fleet("cut", 2)
    try:
        played = hosts.deploy(release(5), limit="h1:h2")
    finally:
        hosts.fleet.restore()
    assert played.code == 4, played.output
    assert "[h2]: UNREACHABLE!" in played.output and "Failed to connect to the host via ssh" in played.output
    assert hosts.live() == model_of(5)
    assert hosts.deploy(release(5), limit="h1:h2").code == 0
    assert hosts.live(2) == model_of(5)


def test_a_failure_on_one_host_takes_the_release_back_on_all(hosts, release):
    assert hosts.deploy(release(1), limit="all").code == 0
    hosts.fleet.ssh(3, "mkdir /root/kept && mv /usr/sbin/haproxy /root/kept/haproxy.real")
    hosts.fleet.ssh(
        3,
        'printf \'#!/bin/sh\\ncase "$*" in *tried*) echo no such proxy; exit 1;; esac\\n'
        'exec /root/kept/haproxy.real "$@"\\n\' > /usr/sbin/haproxy; chmod +x /usr/sbin/haproxy',
    )
    try:
        with Load(hosts.fleet.address(1)) as load:
            played = hosts.deploy(release(2), limit="all")
    finally:
        hosts.fleet.ssh(3, "mv /root/kept/haproxy.real /usr/sbin/haproxy; rmdir /root/kept")
    assert played.code == 2, played.output
    assert f"{release(2).name} did not go live on h3." in played.output
    assert "cause: the proxy refuses its new configuration: no such proxy" in played.output
    assert f"{release(2).name} was taken back on h1, because it failed on h3" in played.output
    assert load.failures == [] and model_of(2) in load.answers
    assert [hosts.live(number) for number in (1, 2, 3)] == [model_of(1)] * 3
    assert [hosts.journal(number)[-1]["outcome"] for number in (1, 2, 3)] == [
        "reverted",
        "reverted",
        "failed",
    ]


@pytest.mark.parametrize(
    "program, said",
    [
        ("/usr/bin/docker", "h3 has no container engine that answers"),
        ("/usr/sbin/haproxy", "h3 has no haproxy, through which services are reached"),
    ],
)
def test_a_host_that_lacks_a_part_is_refused_and_the_others_are_not_changed(
    hosts, serving, other, program, said
):
    hosts.fleet.ssh(3, f"mv {program} /root/away")
    try:
        played = hosts.deploy(other, limit="h1:h3")
    finally:
        hosts.fleet.ssh(3, f"mv /root/away {program}")
    assert played.code == 2 and said in played.output
    assert hosts.live() == model_in(serving) and hosts.journal()[-1]["outcome"] != "failed"
    assert hosts.fleet.ssh(3, "ls /var/lib/mlkit/flights/lock.json || true") == ""


def test_a_deployer_keeps_others_out(hosts, serving, other):
    lock = {
        "format": "mlkit.lock/1",
        "owner": "ann@laptop pid 1",
        "token": "hers",
        "taken": 0,
        "heartbeat": 4102444800,
        "seconds": 4102444800,
        "why": "flights-9-0123456789ab",
    }
    path = "/var/lib/mlkit/flights/lock.json"
    hosts.fleet.ssh(1, f"echo '{json.dumps(lock)}' > {path}")
    try:
        played = hosts.deploy(other)
    finally:
        hosts.fleet.ssh(1, f"rm {path}")
    assert played.code == 2 and "cause: locked: ann@laptop pid 1 holds the lock since" in played.output
    assert hosts.live() == model_in(serving)


def test_a_deployer_that_was_killed_keeps_nobody_out(hosts, serving, other, ansible_process):
    deployer = ansible_process(
        "ansible-playbook",
        "-i",
        hosts.fleet.inventory,
        ROOT / "playbooks/deploy.yml",
        "-e",
        f"release={other}",
        "--limit",
        "h1",
    )
    eventually(lambda: hosts.fleet.ssh(1, "test -e /var/lib/mlkit/flights/lock.json && echo held || true"))
    os.killpg(deployer.pid, signal.SIGKILL)
    deployer.wait()
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(other)
    assert played.code == 0, played.output
    assert load.failures == [] and hosts.live() == model_in(other)


def test_only_the_layers_that_a_host_lacks_are_sent_and_a_cut_transfer_goes_on(
    hosts, serving, release, tmp_path
):
    with tarfile.open(release(4) / "image.tar") as archive:
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
        payload = archive.extractfile(manifest["Layers"][-1]).read()
    half = len(payload) // 2
    incoming = "/var/lib/mlkit/flights/incoming"
    place = f"{incoming}/{config['rootfs']['diff_ids'][-1].replace(':', '-')}"
    (tmp_path / "half").write_bytes(payload[:half])
    hosts.fleet.copy(tmp_path / "half", 1, place)
    played = hosts.deploy(release(4), "-v")
    assert played.code == 0, played.output
    assert int(re.search(r'"sent_bytes": (\d+)', played.output).group(1)) == len(payload) - half
    assert hosts.live() == model_of(4)


def test_an_unknown_host_key_is_refused_whatever_the_inventory_says(hosts, serving, tmp_path):
    known_hosts, inventory = tmp_path / "known_hosts", tmp_path / "inventory.ini"
    known_hosts.touch()
    text = hosts.fleet.inventory.read_text().replace(
        str(hosts.fleet.folder / "known_hosts"), str(known_hosts)
    )
    inventory.write_text(
        text.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=no -o ControlPath=none")
    )
    played = hosts.play("status", "--limit", "h1", inventory=inventory)
    assert played.code == 4 and "Host key verification failed" in played.output, played.output
    assert known_hosts.read_text() == ""


@pytest.mark.parametrize(
    ("playbook", "words", "said"),
    [
        ("deploy", [], "say which release to deploy: -e release=PATH_TO_RELEASE_FOLDER"),
        ("deploy", ["-e", "release=nowhere"], "there is no release folder "),
        ("deploy", ["-e", "release=."], " is not a release folder: it has no release.json"),
        (
            "deploy",
            ["-e", "service_keep_releases=many"],
            "argument 'service_keep_releases' is of type str and we were",
        ),
        (
            "deploy",
            ["-e", "engine_install=perhaps"],
            "argument 'engine_install' is of type str and we were unable",
        ),
        ("rollback", [], "is not a service: say which with -e service=NAME"),
        ("rollback", ["-e", "service=../etc"], "'../etc' is not a service"),
    ],
)
def test_what_is_wrong_is_refused_before_any_host_is_reached(hosts, playbook, words, said):
    played = hosts.play(playbook, *words, "-e", "ansible_host=192.0.2.1")
    assert played.code == 2 and said in played.output, played.output
    assert "UNREACHABLE" not in played.output and "Check every host" not in played.output
