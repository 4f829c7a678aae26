"""What no deployment may do, however it was cut off, suspended or followed by another: take away what answers.

Under load with keep-alive clients that never try twice.
"""

import json
import os
import signal

import pytest
from deploy_lab import Load, model_in
from eventually import eventually
from test_faults import COMMIT, PREPARE, deploying, until

__all__ = ["deploying"]  # a fixture


def went_back(hosts):
    "Whether both hosts have gone back by themselves, and keep one container running."
    ended = [hosts.journal(number)[-1]["outcome"] for number in (1, 2)] == ["went back"] * 2
    return ended and all(sum(hosts.containers(number).values()) == 1 for number in (1, 2))


def test_what_a_stopped_deployment_left_is_not_taken_for_what_the_next_one_makes(
    hosts, both_serving, other, release, deploying
):
    with Load(hosts.fleet.address(1)) as load:
        process = deploying(other)
        until(process, PREPARE)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate()
        for each in (release(3), other):
            played = hosts.deploy(each, limit="h1:h2")
            assert played.code == 0, played.output
            assert [hosts.live(number) for number in (1, 2)] == [model_in(each)] * 2
    assert load.failures == []


def test_few_kept_releases_never_cost_the_live_one(hosts, both_serving, other, release):
    with Load(hosts.fleet.address(1)) as load:
        for each in (other, release(3), both_serving, other):
            played = hosts.deploy(each, "-e", "service_keep_releases=2", limit="h1")
            assert played.code == 0, played.output
            assert hosts.live(1) == model_in(each)
    assert load.failures == []


@pytest.mark.parametrize("another", [False, True], ids=["nobody else", "another deployment meanwhile"])
def test_a_deployer_that_wakes_up_after_its_lock_ran_out_changes_nothing(
    hosts, both_serving, other, release, deploying, another
):
    with Load(hosts.fleet.address(1)) as load:
        process = deploying(other, "-e", "service_lock_seconds=15")
        until(process, COMMIT)
        os.killpg(process.pid, signal.SIGSTOP)
        eventually(lambda: went_back(hosts), 90)
        if another:
            assert hosts.deploy(release(3), limit="h1:h2").code == 0
        os.killpg(process.pid, signal.SIGCONT)
        said = process.communicate()[0]
        assert process.returncode not in (0, None), said
        wanted = model_in(release(3)) if another else model_in(both_serving)
        assert [hosts.live(number) for number in (1, 2)] == [wanted] * 2, said
        played = hosts.deploy(other, limit="h1:h2")
        assert played.code == 0, played.output
    assert load.failures == []
    assert [hosts.live(number) for number in (1, 2)] == [model_in(other)] * 2
    assert "DRIFT" not in hosts.play("status", "--limit", "h1:h2").output


def test_a_lock_that_cannot_be_taken_is_not_called_taken(hosts, both_serving):
    hosts.fleet.ssh(2, "mv /var/lib/mlkit/flights /var/lib/mlkit/aside; touch /var/lib/mlkit/flights")
    try:
        played = hosts.play("lock", "-e", "service=flights", "--limit", "h2")
    finally:
        hosts.fleet.ssh(2, "rm -f /var/lib/mlkit/flights; mv /var/lib/mlkit/aside /var/lib/mlkit/flights")
    assert played.code == 2 and "lock" in played.output


def test_a_stray_file_and_a_broken_record_of_another_service_stop_nobody(hosts, both_serving, other):
    hosts.fleet.ssh(
        1,
        "touch /var/lib/mlkit/stray; mkdir -p /var/lib/mlkit/other; echo x >/var/lib/mlkit/other/state.json",
    )
    try:
        played = hosts.deploy(other, limit="h1")
    finally:
        hosts.fleet.ssh(1, "rm -rf /var/lib/mlkit/stray /var/lib/mlkit/other")
    assert played.code == 0, played.output


def test_what_is_deployed_is_what_the_record_says_whatever_else_is_said_of_it(
    hosts, both_serving, release, tmp_path
):
    new = release(4)
    texts = {name: (new / name).read_text() for name in ("release.json", "golden.json")}
    asked = {"id": new.name, "name": "flights", "archive": f"{release(3)}/image.tar", "texts": texts}
    (tmp_path / "asked.json").write_text(json.dumps({"asked": {"service": "flights", "release": asked}}))
    played = hosts.deploy(new, "-e", f"@{tmp_path}/asked.json")
    assert played.code == 2 and "the archive holds another image than" in played.output, played.output
    assert hosts.live(1) == model_in(both_serving)


def test_a_service_that_the_proxy_has_no_container_for_is_healed_by_the_next_deployment(
    hosts, both_serving, other
):
    piece = "/etc/haproxy/mlkit.d/flights.cfg"
    hosts.fleet.ssh(
        1,
        f"sed -i '/ server /d' {piece} /etc/haproxy/haproxy.cfg; service haproxy reload; docker rm -f $(docker ps -q)",
    )
    played = hosts.deploy(other)
    assert played.code == 0, played.output
    assert hosts.live(1) == model_in(other)
