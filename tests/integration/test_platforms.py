"""What the roles install on platforms that cannot be started here.

A host of Debian 13 says in its /etc/os-release that it is another system. For the RHEL family it has a real dnf and a repository of
stand-ins: which packages are asked for, and what SELinux is asked for, are the role's; that the real packages fit
together is not shown.
"""

import pytest
from conftest import ROOT
from deploy_lab import Hosts

OS_RELEASE = {
    "Rocky 9": 'NAME="Rocky Linux"\nID=rocky\nID_LIKE="rhel centos fedora"\nVERSION_ID=9.6',
    "Rocky 8": 'NAME="Rocky Linux"\nID=rocky\nID_LIKE="rhel centos fedora"\nVERSION_ID=8.10',
    "Ubuntu 24": "NAME=Ubuntu\nID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04\nVERSION_CODENAME=noble",
    "Alpine 3": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.22.0',
}
REPOSITORY = ROOT / "tests/integration/rhel_stand_ins"


@pytest.fixture(scope="module")
def hosts(make_fleet, ansible):
    "One host, with a repository of stand-ins for dnf."
    hosts = Hosts(make_fleet(1, suite="trixie"), ansible)
    hosts.fleet.copy(REPOSITORY, 1, "/root/make-repository")
    hosts.fleet.ssh(1, "bash /root/make-repository")
    return hosts


@pytest.fixture
def playing(hosts, tmp_path):
    "Runs tasks of a role on the host, which says that it is another system."

    def play(system, role, tasks, *words):
        hosts.fleet.ssh(1, f"rm -f /etc/*-release; cat > /etc/os-release <<'END'\n{OS_RELEASE[system]}\nEND")
        if system.startswith("Rocky"):
            hosts.fleet.ssh(1, "echo 'Rocky Linux release' > /etc/redhat-release")
        playbook = tmp_path / "play.yml"
        playbook.write_text(
            "- hosts: hosts\n  gather_facts: false\n  tasks:\n"
            f"    - ansible.builtin.import_role: {{name: mlkit.deploy.{role}, tasks_from: {tasks}}}\n"
        )
        done = hosts.ansible(
            "ansible-playbook",
            "-i",
            hosts.fleet.inventory,
            playbook,
            *words,
            check=False,
            ANSIBLE_COLLECTIONS_PATH=str(ROOT / "playbooks/collections"),
        )
        return done.returncode, done.stdout + done.stderr

    return play


def test_the_rhel_family_gets_podman_and_haproxy_from_its_own_repositories(hosts, playing):
    for role in ("engine", "proxy"):
        code, said = playing("Rocky 9", role, "install")
        assert code == 0, said
    assert hosts.fleet.ssh(1, "rpm -qa --qf '%{NAME}\\n' | sort").split() == [
        "haproxy",
        "initscripts-service",
        "nftables",
        "podman",
    ]
    assert hosts.fleet.ssh(1, "cat /run/asked-of-selinux") == "-P haproxy_connect_any on"
    code, said = playing("Rocky 9", "engine", "install")
    assert code == 0 and "changed=0" in said, said


def test_an_upgrade_that_would_cut_connections_is_refused(playing):
    code, said = playing("Rocky 9", "proxy", "upgrade")
    assert code == 2 and "only the packages of Debian and Ubuntu reload a running haproxy" in said, said


def test_ubuntu_gets_its_docker_io(playing):
    code, said = playing("Ubuntu 24", "engine", "install", "--check")
    assert code == 2 and "h1 would get docker.io;" in said, said


@pytest.mark.parametrize("system, name", [("Rocky 8", "Rocky 8.10"), ("Alpine 3", "Alpine Linux 3.22.0")])
def test_an_unknown_platform_is_refused_by_name(playing, system, name):
    code, said = playing(system, "engine", "install")
    assert code == 2 and f"h1 runs {name}, where mlkit does not install a container engine" in said, said
    assert "known are Debian 12, Debian 13, Ubuntu 22, Ubuntu 24, RedHat 9, RedHat 10" in said


def test_an_engine_that_the_platform_does_not_have_is_refused(playing):
    code, said = playing("Rocky 9", "engine", "install", "-e", "engine_name=docker")
    assert code == 2 and "h1 runs Rocky 9.6, where mlkit does not install docker" in said, said
