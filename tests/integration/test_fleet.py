"The test hosts are what the deploy tests stand on: they must behave as machines do."

import subprocess
from pathlib import Path

import pytest
from eventually import eventually


@pytest.fixture
def hosts(fleet):
    "The fleet, whole again after the test."
    yield fleet
    fleet.restore()


def test_ansible_reaches_every_host(hosts, ansible):
    said = ansible("ansible", "-i", hosts.inventory, "hosts", "-m", "ansible.builtin.ping").stdout
    assert said.count('"pong"') == len(hosts.states()) == 3


def test_each_host_has_its_own_name_and_engine(hosts):
    assert [hosts.ssh(i, "hostname") for i in (1, 2, 3)] == ["h1", "h2", "h3"]
    engines = {hosts.ssh(i, "docker info --format '{{.ID}} {{.Driver}}'") for i in (1, 2, 3)}
    assert len(engines) == 3
    assert all(e.endswith(" overlay2") for e in engines)


def test_a_host_with_a_strange_key_is_refused(hosts):
    known = hosts.folder / "known_hosts"
    before = known.read_text()
    (h1, key1), (h2, key2), *_ = (line.split(" ", 1) for line in before.splitlines())
    known.write_text(f"{h1} {key2}\n{h2} {key1}\n")
    try:
        refused = hosts("ssh", 1, "true", check=False)
    finally:
        known.write_text(before)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_up_again_changes_nothing(hosts):
    before = hosts.states()
    hosts.ssh(1, "touch /run/since-boot")
    hosts("up", 3)
    assert hosts.states() == before
    assert hosts.ssh(1, "ls /run/since-boot")


def test_a_power_cut_ends_every_process_and_keeps_the_disk(hosts):
    hosts.ssh(1, "echo kept >/root/disk; touch /run/memory; sync")
    hosts("kill", 1)
    assert hosts.states()["h1"][1] == "down"
    assert hosts("ssh", 1, "true", check=False).returncode == 255
    hosts("start", 1)
    assert hosts.ssh(1, "cat /root/disk") == "kept"
    assert hosts.ssh(1, "ls /run/memory", check=False) == ""


def test_a_container_comes_back_after_a_power_cut(hosts, engine, base_images):
    image = "mlkit-base:bookworm"
    hosts.send_image(engine, image, 2)
    hosts.ssh(2, f"docker run -d --name clock --restart unless-stopped --memory 50m {image} sleep 1000")
    hosts("kill", 2)
    hosts("start", 2)

    def clock_runs():
        return "Up" in hosts.ssh(2, "docker ps --filter name=clock --format '{{.Status}}'")

    eventually(clock_runs)
    hosts.ssh(2, "docker rm -f clock")


def test_a_cut_host_runs_on_but_nobody_reaches_it(hosts):
    hosts.ssh(3, "touch /run/since-boot")
    hosts("cut", 3)
    assert hosts.states()["h3"][1] == "cut"
    assert hosts("ssh", 3, "true", check=False).returncode == 255
    assert hosts.ssh(2, "hostname") == "h2"
    hosts("heal", 3)
    assert hosts.ssh(3, "ls /run/since-boot")


def test_hosts_reach_one_another_and_nobody_else(hosts):
    reach = "timeout 5 bash -c 'exec 3<>/dev/tcp/{}/22' 2>&1 && echo reached"
    assert hosts.ssh(1, reach.format(hosts.address(2))) == "reached"
    outside = hosts.ssh(1, reach.format("203.0.113.1"), check=False)  # an address that only manuals use
    assert "refused" in outside or "unreachable" in outside, "a packet left the fleet"


def test_two_fleets_live_side_by_side_and_down_leaves_nothing_behind(hosts, make_fleet):
    other = make_fleet(2)
    number, address = (other.folder / "network").read_text().strip(), other.address(1)
    assert number != (hosts.folder / "network").read_text().strip()
    other.ssh(1, "setsid sleep 1000 >/dev/null 2>&1 </dev/null &")
    other("down")

    def is_ours(name):
        return name == f"mlkit{number}" or name.startswith(f"mlkit{number}-")

    assert not list(
        filter(is_ours, on_this_machine("ip netns list; ip -brief link").replace("@", " ").split())
    )
    assert not [c for c in Path("/sys/fs/cgroup").glob("**/mlkit*") if is_ours(c.name)]
    assert f"mlkit{number} " not in on_this_machine("iptables -S FORWARD")
    assert not [p for p in Path("/proc").glob("[0-9]*/mountinfo") if mentions(p, str(other.folder))]
    assert not other.folder.exists()
    assert "No route to host" in on_this_machine(f"ip route get {address} 2>&1 || true")
    assert {state for _, state in hosts.states().values()} == {"up"}


def on_this_machine(command):
    return subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout


def mentions(file, text):
    try:
        return text in file.read_text()
    except OSError:  # the process has ended
        return False


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["up"],
            "error: how many hosts? expected a number from 1 to 99, not ''\n  for example: fleet up 3\n",
        ),
        (
            ["up", "2"],
            "error: this fleet already has a host h3\n  to make it smaller: fleet down, then fleet up 2\n",
        ),
        (["kill", "h1"], "error: a host is given by its number, not 'h1'\n  for example: fleet kill 2\n"),
        (["cut", "9"], "error: there is no host h9 in {folder}\n  hosts: h1 h2 h3\n"),
        (["reboot"], "error: fleet has no command 'reboot'\n"),
    ],
)
def test_a_wrong_command_says_what_was_expected(hosts, words, said):
    refused = hosts(*words, check=False)
    assert refused.returncode == 1
    assert refused.stderr.endswith(said.format(folder=hosts.folder))
