"What ops ask of a fleet: what runs, what should, who did it, who may do it now, and what the servers say."

import json
import os
import signal
import subprocess
import sys

import pexpect
import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import journal_chain as chain
from conftest import ROOT
from eventually import eventually
from fleeted import Fleeted
from laptop import MLKIT

from mlkit.deploy.deployment import deploy, rollback
from mlkit.errors import DeployFailed
from mlkit.settings import read_project

JOURNAL = "/var/lib/mlkit/flights/journal.jsonl"
RUNNING = "pgrep -fc '^docker logs --tail' || true"


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_fleet, base_images):
    "Two hosts that serve the second of two releases."
    lab = Fleeted(tmp_path_factory.mktemp("lab"), make_fleet(2), base_images, hosts=2)
    lab.first, lab.second = lab.release(lab.train(3)), lab.release(lab.train(5))
    lab.mlkit("deploy", "lab", lab.first)
    lab.mlkit("deploy", "lab", lab.second)
    return lab


def status(lab):
    done = lab.mlkit("status", "lab", "--json", check=False)
    return done.returncode, json.loads(done.stdout)


def test_a_healthy_fleet_has_no_drift(lab):
    code, found = status(lab)
    assert code == 0 and found["format"] == "mlkit.status/1" and found["drift"] == []
    services = [host["services"][0] for host in found["hosts"]]
    assert [(service["release"], service["health"]) for service in services] == [(lab.second, "ready")] * 2
    assert all(service["traffic"]["failed"] == 0 for service in services)
    words = lab.mlkit("status", "lab").stdout
    assert words.count(lab.second) == 2 and "drift" not in words


def test_the_journal_says_who_deployed_what_where(lab):
    lines = lab.mlkit("journal", "lab").stdout.splitlines()
    assert len(lines) == 2 and lab.first in lines[0] and lab.second in lines[1]
    assert all("deployed" in line and "h1,h2" in line and " by " in line for line in lines)
    assert "4 entries of 2 hosts are as they were written" in lab.mlkit("journal", "lab", "--verify").stdout
    kept = sorted(path.name for path in (lab.folder / "store/journal/lab/flights/h2").iterdir())
    assert kept == ["000001.json", "000002.json"]


@pytest.mark.parametrize(
    "damage, said",
    [
        (f"sed -i '1s/deployed/rejected/' {JOURNAL}", "h2: line 1 was changed"),
        (f"sed -i 1d {JOURNAL}", "h2: line 1 has the number 2, expected 1"),
        (f"sed -i '$d' {JOURNAL}", "h2: entry 2 is in the store and not on the host: the journal was cut"),
    ],
)
def test_a_journal_that_was_touched_is_found(lab, damage, said):
    lab.fleet.ssh(2, f"cp {JOURNAL} /root/kept")
    lab.fleet.ssh(2, damage)
    try:
        done = lab.mlkit("journal", "lab", "--verify", check=False)
    finally:
        lab.fleet.ssh(2, f"mv /root/kept {JOURNAL}")
    assert done.returncode == 3 and said in done.stderr and "h1:" not in done.stderr


@pytest.mark.parametrize(
    "damage, said",
    [
        ("docker stop -t 1 $(docker ps -q)", "h2 flights: the container of {second} does not run"),
        (
            'sed -i \'s/"release": "{second}"/"release": "{first}"/\' /var/lib/mlkit/flights/state.json',
            "h2 flights: the state names {first}, the journal {second}",
        ),
    ],
)
def test_what_was_changed_by_hand_is_drift(lab, damage, said):
    lab.fleet.ssh(2, "cp /var/lib/mlkit/flights/state.json /root/state")
    lab.fleet.ssh(2, damage.replace("{first}", lab.first).replace("{second}", lab.second))
    try:
        code, found = status(lab)
        words = lab.mlkit("status", "lab", check=False).stdout
    finally:
        lab.fleet.ssh(
            2, "mv /root/state /var/lib/mlkit/flights/state.json; docker start mlkit-flights-green || true"
        )
        eventually(lambda: status(lab)[0] == 0)
    expected = said.replace("{first}", lab.first).replace("{second}", lab.second)
    assert code == 3 and any(each.startswith(expected) for each in found["drift"])
    assert f"drift: {expected}" in words


def test_a_port_that_was_moved_by_hand_or_in_the_inventory_is_drift(lab):
    services = [host["services"][0] for host in status(lab)[1]["hosts"]]
    assert [(each["port"], each["listens"], each["certificate"]) for each in services] == [
        (8300, [8300], None)
    ] * 2
    config = "/etc/haproxy/haproxy.cfg"
    lab.fleet.ssh(2, f"sed -i 's/bind [*]:8300/bind *:8301/' {config}")
    before = dict(lab.settings)
    lab.lab(**before | {"service_ports": '{"flights": 8310}'})
    try:
        code, found = status(lab)
        planned = lab.mlkit("deploy", "lab", lab.second, "--hosts", "h1", "--dry-run").stdout
    finally:
        lab.lab(**before)
        lab.fleet.ssh(2, f"sed -i 's/bind [*]:8301/bind *:8300/' {config}")
    moved = "it is at port 8300, and the inventory says 8310: the next deploy moves it, and clients must know"
    by_hand = "the proxy does not take requests at port 8300, where it was deployed, but at 8301"
    assert code == 3 and found["drift"] == [
        f"h1 flights: {moved}",
        f"h2 flights: {by_hand}",
        f"h2 flights: {moved}",
    ]
    assert "on port 8311" in planned or "on port 8312" in planned
    assert status(lab)[0] == 0


SWAP = """docker rename mlkit-flights-green kept && docker stop -t 1 kept
port=$(docker inspect -f '{{(index (index .HostConfig.PortBindings "8000/tcp") 0).HostPort}}' kept)
docker run -d --name mlkit-flights-green --label mlkit.service=flights --label mlkit.release={second} \
  --label mlkit.colour=green -p 127.0.0.1:$port:8000 $(docker inspect -f '{{.Image}}' mlkit-flights-blue)"""
SWAP_BACK = "docker rm -f mlkit-flights-green; docker rename kept mlkit-flights-green; docker start mlkit-flights-green"


def test_a_container_that_was_swapped_by_hand_is_drift(lab):
    lab.fleet.ssh(2, SWAP.replace("{second}", lab.second))
    try:
        code, found = status(lab)
    finally:
        lab.fleet.ssh(2, SWAP_BACK)
        eventually(lambda: status(lab)[0] == 0)
    assert code == 3 and len(found["drift"]) == 1
    assert f"h2 flights: the container of {lab.second} runs the image sha256:" in found["drift"][0]


@pytest.mark.parametrize(
    "damage, repair, said",
    [
        (
            "cp state.json /root/kept; echo '{' > state.json",
            "mv /root/kept state.json",
            "h2: /var/lib/mlkit/flights/state.json is not JSON",
        ),
        (
            "cp state.json /root/kept; sed -i s#mlkit.state/1#mlkit.state/2# state.json",
            "mv /root/kept state.json",
            "h2: /var/lib/mlkit/flights/state.json has the format mlkit.state/2, and this mlkit knows mlkit.state/1",
        ),
        (
            """echo '{"format": "mlkit.lock/2"}' > lock.json""",
            "rm lock.json",
            "h2: /var/lib/mlkit/flights/lock.json has the format mlkit.lock/2, and this mlkit knows mlkit.lock/1",
        ),
        (
            "mv /usr/bin/docker /root/kept",
            "mv /root/kept /usr/bin/docker",
            "h2: no container engine answers there",
        ),
        (
            "mv /var/lib/mlkit/flights /root/kept",
            "mv /root/kept /var/lib/mlkit/flights",
            "h2 flights: the journal does not know what runs",
        ),
    ],
)
def test_a_host_that_cannot_be_looked_at_is_not_left_out(lab, damage, repair, said):
    lab.fleet.ssh(2, f"cd /var/lib/mlkit/flights; {damage}")
    try:
        code, found = status(lab)
    finally:
        lab.fleet.ssh(2, f"cd /var/lib/mlkit/flights; {repair}")
    assert code == 3 and [host["host"] for host in found["hosts"]] == ["h1", "h2"]
    assert any(each.startswith(said) for each in found["drift"]), found["drift"]


def test_a_journal_that_cannot_be_read_is_not_verified(lab):
    lab.fleet.ssh(2, f"mv {JOURNAL} /root/kept; mkdir {JOURNAL}")
    try:
        done = lab.mlkit("journal", "lab", "--verify", check=False)
    finally:
        lab.fleet.ssh(2, f"rmdir {JOURNAL}; mv /root/kept {JOURNAL}")
    assert done.returncode == 3 and "as they were written" not in done.stdout
    assert "h2: its journal could not be read, so nothing is verified there" in done.stderr


def test_a_host_that_is_away_is_part_of_the_status(lab):
    lab.fleet("cut", 2)
    try:
        code, found = status(lab)
    finally:
        lab.fleet.restore()
    assert code == 3 and found["drift"] == ["h2: cannot be reached"]
    assert [host["reachable"] for host in found["hosts"]] == [True, False]


def test_a_lock_keeps_deployments_out_until_it_is_given_back(lab):
    lab.mlkit("lock", "lab", "--why", "moving the database")
    refused = lab.mlkit("deploy", "lab", lab.first, check=False)
    assert refused.returncode == 3 and "moving the database" in refused.stderr
    assert "mlkit unlock lab --break" in refused.stderr
    assert "locked by" in lab.mlkit("status", "lab").stdout
    live = status(lab)[1]["hosts"][0]["services"][0]["release"]
    other = next(each for each in (lab.first, lab.second) if each != live)
    planned = lab.mlkit("deploy", "lab", other, "--hosts", "h1", "--dry-run").stdout
    assert "not now, for the host is locked: " in planned and "(moving the database)" in planned
    lab.mlkit("unlock", "lab")
    assert status(lab)[1]["hosts"][0]["services"][0]["lock"] is None


def test_a_lock_is_told_before_anything_is_built(lab):
    lab.mlkit("lock", "lab", "--hosts", "h2", "--why", "moving the database")
    refused = lab.mlkit("deploy", "lab", "flights@1", check=False)
    lab.mlkit("unlock", "lab", "--hosts", "h2")
    assert refused.returncode == 3 and "building" not in refused.stderr
    assert "h2: locked: " in refused.stderr and "(moving the database)" in refused.stderr
    assert "mlkit unlock lab --break" in refused.stderr and "nothing was built" in refused.stderr


@pytest.mark.parametrize("command", ["deploy", "lock", "unlock", "unlock --break"])
def test_a_lock_that_a_newer_mlkit_wrote_is_neither_taken_nor_broken(lab, command):
    word, *more = command.split()
    newer = '{"format": "mlkit.lock/2", "holders": ["ann@laptop"]}'
    path = "/var/lib/mlkit/flights/lock.json"
    lab.fleet.ssh(2, f"echo '{newer}' > {path}")
    try:
        refused = lab.mlkit(word, "lab", *([lab.first] if word == "deploy" else more), check=False)
        kept = lab.fleet.ssh(2, f"cat {path}")
    finally:
        lab.fleet.ssh(2, f"rm -f {path}")
    assert refused.returncode == 3 and "h2: " in refused.stderr and kept == newer
    said = f"{path} has the format mlkit.lock/2, and this mlkit knows mlkit.lock/1: deploy with the mlkit that wrote it"
    assert said in refused.stderr, refused.stderr
    assert {host["services"][0]["release"] for host in status(lab)[1]["hosts"]} == {lab.second}


def came_of(deployment):
    return {host: (each.outcome, each.serves) for host, each in deployment.hosts.items()}


def test_python_deploys_and_goes_back_as_the_commands_do(lab):
    project = read_project(lab.folder)
    planned = deploy(project, "lab", lab.first, hosts="h1", dry_run=True)
    assert came_of(planned) == {"h1": ("planned", lab.second)}
    assert planned.hosts["h1"].plan.startswith(f"{lab.first} goes to ")
    done = deploy(project, "lab", lab.first)
    assert came_of(done) == {host: ("deployed", lab.first) for host in ("h1", "h2")}
    assert [done.hosts[f"h{number}"].entry["digest"] for number in (1, 2)] == [
        lab.journal(number)[-1]["digest"] for number in (1, 2)
    ]
    assert lab.live() == done.model
    back = rollback(project, "lab")
    assert came_of(back) == {host: ("rolled back", lab.second) for host in ("h1", "h2")}
    again = rollback(project, "lab", lab.second)
    assert came_of(again) == {host: ("unchanged", lab.second) for host in ("h1", "h2")}
    with pytest.raises(DeployFailed, match="flights-9-0123456789ab is not kept here") as refused:
        rollback(project, "lab", "flights-9-0123456789ab", hosts="h1")
    assert came_of(refused.value.deployment) == {"h1": ("failed", "")}


def test_a_host_that_is_down_holds_nobody_up_and_the_next_run_is_told(lab):
    lab.fleet("cut", 2)
    try:
        back = lab.mlkit("rollback", "lab", lab.first, check=False)
    finally:
        lab.fleet.restore()
    assert back.returncode == 4 and f"{lab.first} is live on h1; h2 cannot be reached" in back.stderr
    said = (
        f"h2 will be brought up to date by the next run, such as: mlkit rollback lab {lab.first} --hosts h2"
    )
    assert said in back.stderr and "rollback to lab failed" not in back.stderr
    lab.mlkit("rollback", "lab", lab.first, "--hosts", "h2")
    assert status(lab)[0] == 0
    lab.fleet("cut", 2)
    try:
        done = lab.mlkit("deploy", "lab", lab.second, "--json", check=False)
    finally:
        lab.fleet.restore()
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 4 and told["outcome"] == "partial" and told["release"] == lab.second
    assert {host: each["outcome"] for host, each in told["hosts"].items()} == {
        "h1": "deployed",
        "h2": "missed",
    }
    lab.mlkit("deploy", "lab", lab.second)
    assert status(lab)[0] == 0


def test_breaking_somebody_elses_lock_is_told_and_kept(lab):
    lab.mlkit("lock", "lab", "--why", "mine")
    for host in (1, 2):
        lab.fleet.ssh(
            host, 'sed -i \'s/"owner": "[^"]*"/"owner": "ann@laptop"/\' /var/lib/mlkit/flights/lock.json'
        )
    refused = lab.mlkit("unlock", "lab", check=False)
    assert refused.returncode == 3 and "ann@laptop holds the lock for mine" in refused.stderr
    assert "mlkit unlock lab --break" in refused.stderr
    lab.mlkit("unlock", "lab", "--break")
    assert lab.journal()[-1]["outcome"] == "lock broken" and "ann@laptop" in lab.journal()[-1]["reason"]
    assert "lock broken" in lab.mlkit("journal", "lab").stdout
    assert status(lab)[0] == 0


@pytest.fixture
def before_the_switch(lab):
    "Makes a command run on h2 in the middle of a deployment, before h2 is switched."
    hook = lab.folder / "hooks/pre-switch"
    hook.parent.mkdir()

    def on_h2(command):
        (lab.folder / "command").write_text(command)
        fleet = f"MLKIT_FLEET={lab.fleet.folder} {ROOT}/deploy/fleet/fleet"
        words = f'{fleet} ssh 2 "$(cat {lab.folder}/command)"'
        hook.write_text(f'#!/bin/sh\ntest "$MLKIT_HOSTS" = h2 || exit 0\n{words}\n')
        hook.chmod(0o755)

    yield on_h2
    hook.unlink()
    hook.parent.rmdir()


LOCK = "/var/lib/mlkit/flights/lock.json"


def test_a_deployment_whose_lock_was_broken_takes_back(lab, before_the_switch):
    before_the_switch(f"rm {LOCK}")
    done = lab.mlkit("deploy", "lab", lab.first, check=False)
    assert done.returncode == 3 and "cause: the lock was lost: it was released or broken" in done.stderr
    assert f"still serving: {lab.second}" in done.stderr
    code, found = status(lab)
    assert code == 0 and {host["services"][0]["release"] for host in found["hosts"]} == {lab.second}
    assert [lab.journal(host)[-1]["outcome"] for host in (1, 2)] == ["reverted", "failed"]


def test_what_another_deployer_locked_meanwhile_is_not_touched(lab, before_the_switch):
    before_the_switch(
        f"""sed -i 's/"owner": "[^"]*"/"owner": "ann@desk"/; s/"token": "[^"]*"/"token": "t"/' {LOCK}"""
    )
    done = lab.mlkit("deploy", "lab", lab.first, check=False)
    try:
        assert done.returncode == 3 and "cause: the lock was lost: ann@desk has it now" in done.stderr
        runs = {host["host"]: host["services"][0] for host in status(lab)[1]["hosts"]}
        assert {each["release"] for each in runs.values()} == {lab.second}
        assert runs["h2"]["lock"]["owner"] == "ann@desk" and runs["h1"]["lock"] is None
    finally:
        before_the_switch("true")
        lab.mlkit("unlock", "lab", "--break")
        lab.mlkit("deploy", "lab", lab.second)
    assert status(lab)[0] == 0


def test_the_logs_of_all_hosts_and_of_one(lab):
    lines = lab.mlkit("logs", "lab").stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"h1", "h2"} and any(
        "Listening at" in line for line in lines
    )
    assert {line.split()[0] for line in lab.mlkit("logs", "lab", "h2", "-n", "3").stdout.splitlines()} == {
        "h2"
    }
    unknown = lab.mlkit("logs", "lab", "h9", check=False)
    assert unknown.returncode == 2 and "no host 'h9'" in unknown.stderr


def test_following_a_log_ends_with_ctrl_c_here_and_there(lab):
    follower = subprocess.Popen(
        [*MLKIT, "logs", "lab", "-f"],
        cwd=lab.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # as a shell starts what it waits for
    )
    assert "h" in follower.stdout.readline()
    eventually(lambda: lab.fleet.ssh(1, RUNNING) != "0")
    os.kill(follower.pid, signal.SIGINT)
    _, said = follower.communicate(timeout=20)
    assert follower.returncode == 130 and "Traceback" not in said
    eventually(lambda: lab.fleet.ssh(1, RUNNING) == "0")


def test_following_a_log_ends_with_its_reader(lab):
    words = f"{sys.executable} -m mlkit logs lab -f | head -n 1"
    done = subprocess.run(words, shell=True, cwd=lab.folder, capture_output=True, text=True, timeout=60)
    assert len(done.stdout.splitlines()) == 1 and done.stderr == ""
    eventually(lambda: lab.fleet.ssh(1, RUNNING) == "0")


def test_following_a_log_ends_with_a_signal_here_and_there(lab):
    words = [*MLKIT, "logs", "lab", "-f"]
    follower = subprocess.Popen(words, cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout.readline()
    eventually(lambda: lab.fleet.ssh(1, RUNNING) != "0")
    follower.terminate()
    _, said = follower.communicate(timeout=20)
    assert follower.returncode == 143 and said == b""
    eventually(lambda: lab.fleet.ssh(1, RUNNING) == "0")


def test_an_environment_without_an_inventory_is_said(lab):
    with open(lab.folder / "settings.ini", "a") as settings:
        settings.write("[environment nowhere]\ninventory = none.ini\n")
    try:
        for words in (["logs", "nowhere"], ["exec", "nowhere", "--", "true"], ["status", "nowhere"]):
            done = lab.mlkit(*words, check=False)
            assert done.returncode == 2 and "has no inventory" in done.stderr, done.stderr
    finally:
        lab.lab(**lab.settings)


def test_a_command_runs_in_every_live_container(lab):
    lines = lab.mlkit("exec", "lab", "--", "sh", "-c", "echo $MLKIT_RELEASE").stdout.splitlines()
    assert sorted(lines) == [f"h1  {lab.second}", f"h2  {lab.second}"]
    failed = lab.mlkit("exec", "lab", "--host", "h1", "--", "false", check=False)
    assert failed.returncode == 3 and "it failed on 1 of 1 hosts of lab\n  h1: exit code 1" in failed.stderr


@pytest.fixture
def as_ann(lab):
    "The inventory's user is one who may do nothing but become root, with a password."
    file = lab.folder / "inventory.ini"
    before = file.read_text()
    for host in (1, 2):
        lab.fleet.ssh(
            host,
            "useradd -m ann; echo ann:annpass | chpasswd; echo 'ann ALL=(ALL) ALL' > /etc/sudoers.d/ann; "
            "install -d -o ann ~ann/.ssh; install -o ann ~/.ssh/authorized_keys ~ann/.ssh",
        )
    become = "ansible_become=true\nansible_become_password=annpass\n"
    file.write_text(before.replace("ansible_user=root\n", f"ansible_user=ann\n{become}"))
    yield
    file.write_text(before)


def in_terminal(lab, *words):
    "A command of mlkit as somebody at a terminal runs it."
    return pexpect.spawn(
        MLKIT[0],
        [*MLKIT[1:], *map(str, words)],
        cwd=lab.folder,
        env=os.environ | lab.environment,
        timeout=60,
        dimensions=(24, 80),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


SHELL = ["exec", "-it", "lab", "--host", "h1", "--", "bash", "--norc"]


def shell_in_container(lab):
    shell = in_terminal(lab, *SHELL)
    shell.expect_exact("$ ")
    shell.sendline("PS1='>''> '")
    shell.expect_exact(">> ")
    return shell


def test_a_shell_in_a_container_has_the_terminal_of_who_sits_there(lab, as_ann):
    shell = shell_in_container(lab)
    shell.sendline("stty size; echo $MLKIT_RELEASE")
    shell.expect_exact(f"24 80\r\n{lab.second}\r\n")
    shell.setwinsize(30, 100)
    new_size = "until [ \"$(stty size)\" = '30 100' ]; do sleep 0.1; done; echo fol''lowed"
    shell.sendline(new_size)
    shell.expect_exact("followed")
    shell.sendline("echo beg''un; sleep 100; echo not''this")
    shell.expect_exact("begun")
    shell.sendintr()
    assert shell.expect_exact([">> ", "notthis"]) == 0
    shell.sendline("exit 7")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 7


def test_a_terminal_that_is_closed_leaves_no_shell_on_the_host(lab):
    shell = shell_in_container(lab)
    clients = "pgrep -fc '^docker exec -it' || true"
    assert lab.fleet.ssh(1, clients) != "0"
    shell.close()
    eventually(lambda: lab.fleet.ssh(1, clients) == "0")


def test_a_terminal_is_for_one_host_and_needs_one_here(lab):
    done = lab.mlkit("exec", "-it", "lab", "--", "bash", check=False)
    assert (
        done.returncode == 2
        and "-it runs on one host, and lab has h1, h2\n  such as --host h1" in done.stderr
    )
    done = lab.mlkit(*SHELL, check=False)
    assert done.returncode == 2 and "-it needs a terminal, and the input is not one" in done.stderr


def test_what_keeps_a_terminal_from_a_host_is_said(lab, as_ann):
    file = lab.folder / "inventory.ini"
    file.write_text(file.read_text().replace("annpass", "wrong"))
    shell = in_terminal(lab, *SHELL)
    shell.expect_exact("h1: sudo refuses the become password")
    shell.expect(pexpect.EOF)
    shell.wait()
    assert shell.exitstatus == 3


def test_a_log_that_is_followed_over_a_become_password_ends_with_ctrl_c(lab, as_ann):
    follower = in_terminal(lab, "logs", "lab", "h1", "-f")
    follower.expect_exact("Listening at")
    eventually(lambda: lab.fleet.ssh(1, RUNNING) != "0")
    follower.sendintr()
    follower.expect(pexpect.EOF)
    follower.wait()
    assert follower.exitstatus == 130
    eventually(lambda: lab.fleet.ssh(1, RUNNING) == "0")


def test_an_ansible_cfg_that_a_deployment_does_not_read_is_not_read(lab):
    "Else a command would ask another host than a deployment changes."
    (lab.folder / "ansible.cfg").write_text("[defaults]\nremote_port = 9\n")
    try:
        assert status(lab)[0] == 0
        assert len(lab.mlkit("exec", "lab", "--", "true").stdout) == 0
    finally:
        (lab.folder / "ansible.cfg").unlink()


def test_plain_ansible_says_the_same(lab, ansible):
    inventory = lab.folder / "inventory.ini"
    words = ["-i", inventory, "-e", "service_port=8300"]
    playbooks = ROOT / "playbooks"
    told = ansible("ansible-playbook", *words, playbooks / "status.yml").stdout
    assert f"flights: {lab.second} ready" in told
    told = ansible("ansible-playbook", *words, playbooks / "journal.yml", "-e", "service=flights").stdout
    assert "deployed" in told and lab.second in told


def lines_of(lab):
    return lab.fleet.ssh(2, f"cat {JOURNAL}").splitlines()


def write(lab, lines):
    lab.fleet.ssh(2, f"cat > {JOURNAL} <<'END'\n" + "\n".join(lines) + "\nEND")


def test_a_host_that_says_of_itself_that_its_cut_journal_is_accepted_is_not_believed(lab):
    "Whoever is root there can write such a line, and did not write the store's copy."
    kept = lines_of(lab)
    edited = kept[0].replace("deployed", "rejected")
    rewritten = chain.digest_of(json.loads(edited))[:19]
    differ = [
        f"entry 1 is another one in the store: the journal was rewritten ({rewritten})",
        *(
            f"entry {number} is in the store and not on the host: the journal was cut"
            for number in range(2, len(kept) + 1)
        ),
    ]
    entry = {
        "outcome": "accepted",
        "service": "flights",
        "number": len(kept) + 1,
        "previous": chain.line_digest(edited),
        "before": chain.line_digest(edited),
        "problems": [*chain.verify([edited]), *differ],
    }
    write(lab, [edited, chain.canonical(entry | {"digest": chain.digest_of(entry)})])
    done = lab.mlkit("journal", "lab", "--verify", check=False)
    write(lab, kept)
    assert done.returncode == 3 and "h2: line 1" not in done.stderr
    assert all(f"h2: {problem}" in done.stderr for problem in differ)
    assert lab.mlkit("journal", "lab", "--verify").returncode == 0


def test_what_a_person_has_accepted_is_told_no_more_and_what_comes_after_is(lab):
    lab.fleet.ssh(2, f"sed -i '1s/deployed/rejected/' {JOURNAL}")
    refused = lab.mlkit("journal", "lab", "--accept", " ", check=False)
    assert refused.returncode == 2 and "--accept needs a reason" in refused.stderr
    assert lab.mlkit("journal", "lab", "--verify", check=False).returncode == 3
    said = lab.mlkit("journal", "lab", "--accept", "edited in a hurry").stdout
    assert (
        "h2: accepted: line 1 was changed" in said
        and "h2: accepted: entry 1 is another one in the store" in said
    )
    assert "h1" not in said and "are as they were written, or accepted" in said
    assert lab.mlkit("journal", "lab", "--verify").returncode == 0 and status(lab)[0] == 0
    assert (
        "accepted" in lab.mlkit("journal", "lab").stdout
        and "edited in a hurry" in lab.mlkit("journal", "lab").stdout
    )
    lab.fleet.ssh(2, f"sed -i '1s/rejected/reverted/' {JOURNAL}")
    done = lab.mlkit("journal", "lab", "--verify", check=False)
    assert done.returncode == 3 and "h2: line 1 was changed" in done.stderr
    assert "h2: entry 1 is another one in the store" in done.stderr
