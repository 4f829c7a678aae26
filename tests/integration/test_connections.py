"A log and a command reach a host the way the inventory describes it, whatever Ansible can read there."

import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pexpect
import pytest

from mlkit.deploy.connection import find_hosts
from mlkit.deploy.ssh import run_on
from mlkit.settings import Environment

PREPARE = """
useradd -m -s /bin/sh ann; echo ann:annpass | chpasswd; echo root:rootpass | chpasswd
useradd -m -s /bin/sh bob; echo bob:bobpass | chpasswd
install -d -m 700 -o ann /home/ann/.ssh; install -m 600 -o ann /root/.ssh/authorized_keys /home/ann/.ssh/
echo 'ann ALL=(ALL) ALL' > /etc/sudoers.d/ann
/usr/sbin/sshd -o Port=2222 -o PidFile=none
"""


class Reached:
    "Hosts with users, and an inventory that each test writes."

    def __init__(self, fleet, folder):
        self.fleet, self.folder = fleet, folder
        lines = fleet.inventory.read_text().splitlines()
        self.key = next(line.partition("=")[2].strip('"') for line in lines if "private_key_file" in line)
        self.known = f"-o IdentitiesOnly=yes -o UserKnownHostsFile={fleet.folder}/known_hosts"
        for host in (1, 2):
            fleet.ssh(host, PREPARE)

    def write(self, hosts=("h1",), folder=None, **variables):
        "An inventory of these hosts, whose user is ann unless the variables say another."
        settings = {
            "ansible_user": "ann",
            "ansible_ssh_private_key_file": self.key,
            "ansible_ssh_common_args": self.known,
        } | variables
        settings = {key: value for key, value in settings.items() if value is not None}
        each = {name: {"ansible_host": self.fleet.address(name[1:])} for name in hosts}
        file = (folder or Path(tempfile.mkdtemp(dir=self.folder))) / "hosts.yml"
        file.write_text(json.dumps({"hosts": {"hosts": each, "vars": settings}}))
        return file

    def run(self, words, hosts=("h1",), folder=None, vault=None, **variables):
        "What each host printed, and why it failed where it did."
        file, told = self.write(hosts, folder, **variables), io.StringIO()
        failed = run_on(find_hosts(Environment("lab", file, {}, vault_password_file=vault)), words, told)
        return told.getvalue().splitlines(), failed


@pytest.fixture(scope="module")
def reached(make_fleet, tmp_path_factory):
    return Reached(make_fleet(2), tmp_path_factory.mktemp("reached"))


SUDO = {"ansible_become": True, "ansible_become_password": "annpass"}
SU = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_password": "rootpass"}


@pytest.mark.parametrize(
    "variables, user",
    [
        ({}, "ann"),
        (SUDO, "root"),
        (SUDO | {"ansible_become_user": "bob"}, "bob"),
        (SU, "root"),
        (SU | {"ansible_become_user": "bob", "ansible_become_password": "bobpass"}, "bob"),
        ({"ansible_ssh_private_key_file": None, "ansible_password": "annpass"}, "ann"),
        (SUDO | {"ansible_ssh_private_key_file": None, "ansible_password": "annpass"}, "root"),
        ({"ansible_port": 2222, "ansible_user": "{{ who }}", "who": "ann"}, "ann"),
    ],
)
def test_a_command_runs_as_the_inventory_says(reached, variables, user):
    printed, failed = reached.run("id -un; id -un >&2", hosts=("h1", "h2"), **variables)
    assert failed == {} and sorted(printed) == [f"h1  {user}"] * 2 + [f"h2  {user}"] * 2


def test_another_port_and_a_jump_host_are_the_way_there(reached):
    jump = reached.folder / "ssh_config"
    way = f"IdentityFile {reached.key}\nUserKnownHostsFile {reached.fleet.folder}/known_hosts\n"
    jump.write_text(f"Host jump\nHostName {reached.fleet.address(1)}\nUser root\n{way}")
    over = f"-F {jump} -J jump {reached.known}"
    [line], failed = reached.run(
        "echo $SSH_CONNECTION", ["h2"], ansible_ssh_common_args=over, ansible_port=2222
    )
    assert failed == {}
    assert line.split()[1] == reached.fleet.address(1) and line.split()[-1] == "2222"


def test_passwords_that_ansible_vault_has_closed_are_opened(reached):
    folder = reached.folder / "vaulted"
    variables = folder / "group_vars/hosts/passwords.yml"
    variables.parent.mkdir(parents=True)
    variables.write_text("closed_password: annpass\n")
    key = folder / "password"
    key.write_text("secret")
    vault = Path(sys.executable).with_name("ansible-vault")
    subprocess.run(
        [vault, "encrypt", "--vault-password-file", key, variables], check=True, capture_output=True
    )
    become = SUDO | {"ansible_become_password": "{{ closed_password }}"}
    assert reached.run("id -un", folder=folder, vault=key, **become) == (["h1  root"], {})


@pytest.mark.parametrize(
    "variables, why",
    [
        (
            SUDO | {"ansible_become_password": "wrong"},
            "sudo refuses the become password; ansible_become_password is for sudo and doas the one of the user who connects, "
            "for su the one of the user to become",
        ),
        (
            SU | {"ansible_become_password": "wrong"},
            "su refuses the become password; ansible_become_password is ",
        ),
        (
            {"ansible_become": True},
            "sudo asks for a password, and the inventory has none; set ansible_become_password, closed with Ansible Vault, ",
        ),
        (SU | {"ansible_become_password": None}, "su asks for a password, and the inventory has none; set "),
        (
            SUDO
            | {"ansible_user": "bob", "ansible_password": "bobpass", "ansible_become_password": "bobpass"},
            "the command did not begin: bob is not in the sudoers file.",
        ),
        (
            {"ansible_ssh_private_key_file": None, "ansible_password": "wrong"},
            "it refuses the ssh key or password: ann@",
        ),
        ({"ansible_user": "bob"}, "it refuses the ssh key or password: bob@"),
        ({"ansible_port": 2223}, "it cannot be reached: ssh: connect to host "),
        (
            {"ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null"},
            "its key is not the one in known_hosts; compare ",
        ),
        (SU | {"ansible_become_exe": "/bin/no-su"}, "it has no su: "),
    ],
)
def test_what_does_not_lead_there_is_a_sentence_that_says_what_to_do(reached, variables, why):
    printed, failed = reached.run("id -un", **variables)
    assert printed == [] and failed["h1"].startswith(why), failed


SHELL = """
import sys
from pathlib import Path
from mlkit.deploy.connection import find_hosts
from mlkit.deploy.terminal import run_in_terminal
from mlkit.settings import Environment

[host] = find_hosts(Environment("lab", Path(sys.argv[1]), {}))
sys.exit(run_in_terminal(host, "export PS1='> '; exec sh"))
"""


@pytest.mark.parametrize(
    "variables, user",
    [
        ({}, "ann"),
        (SUDO, "root"),
        (SU, "root"),
        ({"ansible_ssh_private_key_file": None, "ansible_password": "annpass"}, "ann"),
    ],
)
def test_a_terminal_goes_the_way_that_the_inventory_says(reached, variables, user):
    shell = pexpect.spawn(
        sys.executable,
        ["-c", SHELL, str(reached.write(**variables))],
        timeout=60,
        dimensions=(24, 80),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    shell.expect_exact("> ")
    shell.sendline("id -un; trap 'echo told' WINCH")
    shell.expect_exact(f"\r\n{user}\r\n> ")
    shell.setwinsize(30, 100)
    shell.sendline("")
    shell.expect_exact("told")
    shell.sendline("stty size")
    shell.expect_exact("\r\n30 100\r\n> ")
    shell.sendline("echo beg''un; sleep 100")
    shell.expect_exact("begun")
    shell.sendintr()
    shell.expect_exact("> ")
    shell.sendline("exit 7")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 7


def test_a_host_that_is_away_does_not_hold_back_the_others(reached):
    reached.fleet("cut", 2)
    try:
        start = time.monotonic()
        printed, failed = reached.run("id -un", hosts=("h1", "h2"), **SUDO)
    finally:
        reached.fleet.restore()
    assert printed == ["h1  root"] and time.monotonic() - start < 30
    assert failed["h2"].startswith("it cannot be reached: ssh: connect to host ")
    assert "try: ansible -i " in failed["h2"] and failed["h2"].endswith("/hosts.yml h2 -m ping")
