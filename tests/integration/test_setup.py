"""A new host, which has nothing but sshd, sudo and a user with a password: `mlkit setup` and `mlkit deploy`, and it serves.

The tests run in this order: the third one sets the host up for those after it.
"""

import json
import os
import socket
import subprocess

import pytest
from conftest import run
from deploy_lab import Hosts, changed, model_of
from eventually import eventually
from fleeted import PORT, Fleeted
from laptop import MLKIT, Load
from package_relay import PackageRelay

PASSWORD = "open sesame"
OPS = ["--user", "ops", "--ask-password"]


class New(Fleeted):
    "A project whose environment `lab` is a bare host, to which it will deploy as the user `deploy`."

    def __init__(self, folder, fleet, base_images):
        super().__init__(
            folder, fleet, base_images, host_user="deploy", host_user_key="deploy.pub", host_user_sudo="true"
        )
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "deploy")
        inventory = (folder / "inventory.ini").read_text().replace("ansible_user=root", "ansible_user=deploy")
        inventory = inventory.replace(str(fleet.folder / "id"), str(folder / "deploy"))
        (folder / "inventory.ini").write_text(inventory + "\nansible_become=true\n")
        key = (folder / "deploy.pub").read_text().strip()
        fleet.ssh(1, f"useradd -m -G sudo ops; echo 'ops:{PASSWORD}' | chpasswd")
        fleet.ssh(1, f"useradd -m -G sudo kay; echo 'kay:{PASSWORD}' | chpasswd; mkdir ~kay/.ssh")
        fleet.ssh(1, f"echo '{key}' > ~kay/.ssh/authorized_keys; chown -R kay: ~kay/.ssh")

    def setup(self, *words, typed="", **settings):
        "What `mlkit setup lab` gives; these settings are for this once."
        before = self.settings
        self.lab(**before | settings)
        done = subprocess.run(
            [*MLKIT, "setup", "lab", *words],
            cwd=self.folder,
            input=typed,
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | self.environment,
            start_new_session=True,  # no terminal, on which ssh could ask
        )
        self.lab(**before)
        return done


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_fleet, base_images):
    fleet = make_fleet(1, "bare")
    with PackageRelay(fleet, 1):
        yield New(tmp_path_factory.mktemp("lab"), fleet, base_images)


def lets_in(lab, port):
    "Whether somebody else comes to this port of the host."
    try:
        socket.create_connection((lab.address, port), timeout=2).close()
        return True
    except TimeoutError:  # dropped; nobody who listens would be refused at once
        return False


@pytest.fixture
def listener(lab):
    "A port on which the host listens."
    port = 9997
    code = f"import socket, time; s = socket.create_server((str(), {port})); time.sleep(600)"
    process = lab.fleet.ssh(1, f"setsid python3 -c '{code}' >/dev/null 2>&1 </dev/null & echo $!")
    eventually(lambda: str(port) in lab.fleet.ssh(1, "ss -Hltn"))
    yield port
    lab.fleet.ssh(1, f"kill {process}")


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--hosts", "h9"], 2, "environment lab has no host 'h9'"),
        (["--ask-password"], 2, "--ask-password got no password"),
        (["--user", "ops"], 3, "the host refuses the ssh key"),
        (["--user", "kay"], 3, "sudo asks for a password there"),
    ],
)
def test_what_is_missing_is_said_and_nothing_is_changed(lab, words, code, said):
    done = lab.setup(*words)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert lab.fleet.ssh(1, "command -v python3 || echo none") == "none"


def test_this_machine_is_not_set_up(lab):
    done = lab.mlkit("setup", "local", check=False)
    assert done.returncode == 2 and "local is this machine, which is not set up" in done.stderr, done.stderr


def test_a_wrong_password_is_said(lab):
    done = lab.setup("--user", "kay", "--ask-password", typed="sesame\n")
    assert done.returncode == 3 and "Incorrect sudo password" in done.stderr, done.stderr
    assert "sudo asks for a password there" in done.stderr and "sesame" not in done.stderr


def test_a_new_host_is_ready_and_serves_after_two_commands(lab):
    tried = lab.setup(*OPS, "--dry-run", typed=PASSWORD)
    assert tried.stdout == "h1: would change: Install Python and all that follows\n", tried.stderr
    done = lab.setup(*OPS, typed=PASSWORD)
    assert done.returncode == 0 and "h1: changed: Install Python; " in done.stdout, done.stderr
    for there in ("docker", "haproxy", "nft", "logrotate", "unattended-upgrade"):
        assert lab.fleet.ssh(1, f"command -v {there}"), there
    assert lab.fleet.ssh(1, "apt-config dump APT::Periodic::Unattended-Upgrade").endswith('"1";')
    kept = lab.fleet.ssh(1, "apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert '"^docker.io$"' in kept  # its upgrade would stop all containers
    assert "chrony" not in done.stdout  # a host in namespaces has the clock of its machine
    lab.first = lab.release(lab.train(3))
    lab.mlkit("deploy", "lab", lab.first)
    assert lab.live()


def test_twice_is_the_same_as_once(lab):
    done = lab.setup("--json")  # now as the user that the first time has made, without any password
    record = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and record["changed"] == {"h1": []} and record["outcome"] == "done"
    assert lab.setup("--dry-run").stdout == "h1: nothing would change\n"


def test_a_private_key_goes_to_no_host(lab):
    done = lab.setup(host_user_key="deploy")
    assert done.returncode == 3 and "deploy holds a private one, which goes to no host" in done.stderr, (
        done.stderr
    )
    assert (
        lab.fleet.ssh(1, "cat ~deploy/.ssh/authorized_keys")
        == (lab.folder / "deploy.pub").read_text().strip()
    )


def test_a_port_that_nobody_asked_for_is_closed(lab, listener):
    assert lets_in(lab, PORT) and lets_in(lab, 22) and not lets_in(lab, listener)


def test_a_host_that_serves_is_set_up_again_without_a_failed_request(lab, listener):
    with Load(lab.address, PORT) as load:
        opened = lab.setup(host_firewall_ports=listener)
        assert lets_in(lab, listener)
        closed = lab.setup("--json")
    assert opened.returncode == 0 and "Confirm the rules" in opened.stdout, opened.stderr
    # what runs is not closed by mistake
    assert closed.returncode == 3 and f"{listener}/tcp (python3)" in closed.stderr, closed.stdout
    assert load.failures == [] and len(load.models) > 100


def test_what_nobody_comes_through_goes_back_by_itself(lab):
    "ssh takes no new connection from the moment on in which the rules are there, as if these had closed it."
    before = lab.fleet.ssh(1, "nft list table inet mlkit")
    deaf = "while [ ! -e /run/mlkit-firewall.json ]; do sleep 0.05; done; kill -STOP $(cat /run/sshd.pid); sleep 20; kill -CONT $(cat /run/sshd.pid)"
    lab.fleet.ssh(1, f"setsid sh -c '{deaf}' >/dev/null 2>&1 </dev/null &")
    done = lab.setup(host_firewall_ports=9998, host_firewall_seconds=3)
    assert done.returncode == 3 and "no new connection came through the new firewall of h1" in done.stderr
    eventually(lambda: lab.fleet.ssh(1, "nft list table inet mlkit", check=False) == before, 30)
    assert lab.live() and lab.fleet.ssh(1, "ls /run/mlkit-firewall.json", check=False) == ""


def test_rules_are_not_kept_over_the_connection_that_was_there_before(lab):
    before = lab.fleet.ssh(1, "nft list table inet mlkit")
    path = f"-o ControlPath={lab.folder}/c -o ControlMaster=auto -o ControlPersist=60"
    shared = {"ansible_ssh_args": path}  # from settings.ini, which wins over what the role says
    done = lab.setup(host_firewall_ports=9998, host_firewall_seconds=3, **shared)
    assert done.returncode == 3 and "a connection that was there before the rules" in done.stderr, done.stderr
    eventually(lambda: lab.fleet.ssh(1, "nft list table inet mlkit", check=False) == before, 30)


def test_the_firewall_is_there_after_a_boot(lab):
    assert lab.setup().returncode == 0  # a port that an earlier test opened is closed
    before = lab.fleet.ssh(1, "nft list table inet mlkit")
    lab.fleet("kill", 1)
    lab.fleet("start", 1)
    eventually(lambda: lab.ask()[0] == 200, 60)
    assert lab.fleet.ssh(1, "nft list table inet mlkit") == before
    assert lab.setup().stdout == "h1: nothing changed\n"


def test_what_would_be_closed_is_named(lab):
    "As on a host that was in use before its firewall: a way in by UDP may be how its owner comes to it."
    code = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind((str(), 9996)); time.sleep(600)"
    process = lab.fleet.ssh(1, f"setsid python3 -c '{code}' >/dev/null 2>&1 </dev/null & echo $!")
    lab.fleet.ssh(1, "nft delete table inet mlkit")
    refused = lab.setup()
    opened = lab.setup(host_firewall_ports="9996,9995")
    lab.fleet.ssh(1, f"kill {process}")
    assert refused.returncode == 3 and "9996/udp (python3)" in refused.stderr, refused.stderr
    assert opened.returncode == 0, opened.stderr
    assert "udp dport { 9995, 9996 } accept" in lab.fleet.ssh(1, "nft list table inet mlkit")
    assert lab.setup().returncode == 0


def test_a_firewall_that_is_there_already_is_not_joined(lab):
    own = "table inet own { chain input { type filter hook input priority 10; policy drop; accept; }; }"
    lab.fleet.ssh(1, f"echo '{own}' | nft -f -")
    done = lab.setup(host_firewall_ports=9998)
    lab.fleet.ssh(1, "nft delete table inet own")
    assert done.returncode == 3 and "another firewall is there already" in done.stderr, done.stderr
    assert "table inet own" in done.stderr and "host_firewall=false" in done.stderr


def test_what_is_neither_debian_nor_ubuntu_is_refused_by_name(lab):
    lab.fleet.ssh(1, "cp --remove-destination /usr/lib/os-release /etc/os-release")
    lab.fleet.ssh(
        1, "printf 'PRETTY_NAME=\"Alpine Linux v3.22\"\\nID=alpine\\nVERSION_ID=3.22.0\\n' > /etc/os-release"
    )
    done = lab.setup()
    lab.fleet.ssh(1, "ln -sf ../usr/lib/os-release /etc/os-release")
    assert done.returncode == 3 and "h1 runs Alpine Linux v3.22, which mlkit does not set up" in done.stderr


@pytest.fixture(scope="module")
def debian_13(make_fleet, ansible):
    hosts = Hosts(make_fleet(1, "bare", suite="trixie"), ansible)
    with PackageRelay(hosts.fleet, 1):
        yield hosts


def test_a_part_that_is_switched_off_is_left_out(debian_13):
    parts = ("engine", "proxy", "clock", "logs", "updates")
    played = debian_13.play("setup", *(f"-ehost_{part}=false" for part in parts))
    assert played.code == 0, played.output
    there = debian_13.fleet.ssh(1, "command -v docker haproxy logrotate unattended-upgrade nft", check=False)
    assert there == "/usr/sbin/nft"


def test_plain_ansible_sets_up_debian_13(debian_13, release):
    played = debian_13.play("setup")
    assert played.code == 0, played.output
    deployed = debian_13.deploy(release(1))
    assert deployed.code == 0 and debian_13.live() == model_of(1), deployed.output
    again = debian_13.play("setup")
    assert again.code == 0 and changed(again.output) == 0, again.output
    # on a machine of its own it would get what keeps the clock; here that would be the clock of this machine
    tried = debian_13.play("setup", "--check", "-e", "host_clock_probe=true")
    assert tried.code == 0 and changed(tried.output) == 1, tried.output
    assert "TASK [mlkit.deploy.host : Install time synchronization]" in tried.output
