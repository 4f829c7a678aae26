"""What breaks while a release goes live, at each step, under load: does the fleet keep serving, and is the lock free again?

    python bench/deploy/faults.py [--only kill,cut,deployer] [--steps "lock;send"] [--lock 25]      needs root and a container engine

Two hosts. The fault hits h2 (or h1, which decides, or the deployer) at a step, by plain ansible-playbook with a lock of 25 s. Then:
what clients of the other host saw, what both serve by themselves and how long after the host came back (of a dead deployer the lock
has to run out first), and what one more `mlkit deploy` makes of it. The table is that of docs/faults.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from lab import ROOT, Lab, ask, eventually, lab_of, load_on

BEGIN = "Lock the host, and decide what has to happen"
PREPARE = "Start the new container, and let it prove itself"
SWITCH = "Lead the clients to the new container"
# When the task begins, or, within it, as soon as a command succeeds on h2
STEPS = {
    "lock": (BEGIN, ""),
    "send": (PREPARE, ""),
    "the container starts": (PREPARE, "docker ps --quiet --filter label=mlkit.release={release} | grep -q ."),
    "switch": (SWITCH, ""),
    "clients are led": (SWITCH, "grep -q backup /etc/haproxy/haproxy.cfg"),
    "last look": ("Record it on the first host", ""),
    "record": ("Record the deployment, or take it back", ""),
    "it is recorded": (
        "Record the deployment, or take it back",
        # not in its history, where an earlier case may have left it
        """python3 -c 'import json; assert json.load(open("/var/lib/mlkit/flights/state.json"))["release"] == "{release}"'""",
    ),
}
FOLDER = "/var/lib/mlkit/flights"
FAULTS = {
    "kill": "h2 loses power",
    "first": "h1, which decides, loses power",
    "cut": "h2's network is cut",
    "deployer": "the deployer is killed",
    "another": "the deployer is killed, and another release deployed",
    "sleep": "the deployer sleeps for longer than its lock, and wakes up",
    "proxy": "h2's proxy is killed",
    "engine": "h2's container engine is killed",
    "hang": "h2's container engine hangs",
    "twin": "a deployer of the same name, in a pid namespace of its own, begins, too",
}

SERVICES = {"proxy": ("haproxy", "haproxy"), "engine": ("dockerd", "docker")}  # program and service on a host


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(FAULTS), help="separated by ,")
    parser.add_argument("--steps", default=";".join(STEPS), help="separated by ;")
    parser.add_argument(
        "--lock", type=int, default=25, help="seconds: longer than a deployment to two hosts takes"
    )
    given = parser.parse_args()
    with lab_of(2, deploy_batch=1, service_lock_seconds=given.lock) as lab:
        releases = [lab.release(3), lab.release(5), lab.release(7)]
        lab.deploy(releases[0])
        print(
            "| fault | at the step | exit | failed elsewhere | by themselves they serve | after | after the next deploy |"
        )
        print("|---|---|---|---|---|---|---|", flush=True)
        bad = 0
        for fault in given.only.split(","):
            for step in given.steps.split(";"):
                bad += not hit(lab, releases, fault, step, STEPS[step])
    return 1 if bad else 0


def hit(lab: Lab, releases: list[str], fault: str, step: str, when: tuple[str, str]) -> bool:
    "One fault: print its line, and say whether all is well at the end."
    old = next(iter(lab.releases_live()))
    new, third = (each for each in releases if each != old)
    last = third if fault == "another" else new
    with load_on(lab, 600, with_wrk=False) as (clients, _):
        code = deploy_with(lab, new, lambda deployer: strike(lab, deployer, fault, third), *when)
        heal(lab, fault)
        began = time.monotonic()
        eventually(lambda: is_settled(lab), seconds=30 + 2 * lab.settings["service_lock_seconds"])
        seconds, served = time.monotonic() - began, live_on(lab)
        again = lab.mlkit("deploy", "fleet", last, check=False)
        finally_ = lab.releases_live()
    answers = clients[1 if fault == "first" else 0].answers  # of the host that was not hit
    failed = [answer.failure for answer in answers if answer.failure]
    names = {old: "the old release", new: "the new release"}
    words = names[served[0]] if served[0] == served[1] else f"h1 {names[served[0]]}, h2 {names[served[1]]}"
    good = again.returncode == 0 and finally_ == {last} and not failed and served[0] == served[1]
    after = "the other release" if fault == "another" else "the new release"
    if not good:
        after = f"exit {again.returncode}: {again.stderr[-300:]}"
    print(
        f"| {FAULTS[fault]} | {step} | {code} | {len(failed)} of {len(answers)} | {words} | {seconds:.0f} s | {after} |",
        flush=True,
    )
    return good


def playing(lab: Lab, release: str) -> list:
    "The command that deploys a release with plain ansible-playbook."
    variables = {"release": lab.folder / ".mlkit/releases" / release, **lab.settings}
    words = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    program = Path(sys.executable).parent / "ansible-playbook"
    return [program, "-i", lab.fleet.inventory, ROOT / "playbooks/deploy.yml", *words]


def deploy_with(lab: Lab, release: str, strike, task: str, sight: str) -> int:
    "Deploy, and strike when the task begins, which plain ansible-playbook tells, or within it at the sight of something; the exit code."
    deployer = subprocess.Popen(
        playing(lab, release),
        env=os.environ
        | {"PYTHONUNBUFFERED": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    clock = threading.Timer(300, lambda: os.killpg(deployer.pid, signal.SIGKILL))
    clock.start()
    is_hit = False
    for line in deployer.stdout:
        if line.startswith("TASK [") and task in line and not is_hit:
            is_hit = True
            while sight and deployer.poll() is None:
                seen = lab.fleet("ssh", 2, sight.format(release=release), check=False)
                if seen.returncode == 0:
                    break
            strike(deployer)
    clock.cancel()
    if not is_hit:
        sys.exit(f"no task {task!r} in the deployment")
    return deployer.wait()


def strike(lab: Lab, deployer: subprocess.Popen, fault: str, third: str) -> None:
    "What happens, and, where the deployer sleeps, until it is awake again."
    if fault in ("deployer", "another"):
        os.killpg(deployer.pid, signal.SIGKILL)
    elif fault == "sleep":
        os.killpg(deployer.pid, signal.SIGSTOP)
        eventually(lambda: lock_is_free(lab), seconds=3 * lab.settings["service_lock_seconds"])
        os.killpg(deployer.pid, signal.SIGCONT)
    elif fault in SERVICES:
        lab.fleet("ssh", 2, f"pkill -KILL {SERVICES[fault][0]}", check=False)
    elif fault == "hang":
        lab.fleet("ssh", 2, "pkill -STOP -x dockerd")
    elif fault == "twin":
        alone = ["unshare", "--pid", "--fork", "--mount-proc"]
        twin = subprocess.run([*alone, *playing(lab, third)], capture_output=True, text=True, check=False)
        if twin.returncode == 0 or "locked: " not in twin.stdout:
            sys.exit(f"the twin was not refused, exit {twin.returncode}: {twin.stdout[-2000:]}")
    elif fault == "first":
        lab.fleet("kill", 1)
    else:
        lab.fleet(fault, 2)


def live_on(lab: Lab) -> list[str]:
    "What the hosts serve. Raises `ConnectionError` while one is not ready."
    return [ask(address, "/readyz")["release"] for address in lab.addresses]


def is_settled(lab: Lab) -> bool:
    "Whether no host has a deployment to end, and each is ready, with nothing missed."
    look = (
        f"test ! -e {FOLDER}/pending.json && test $(grep -c ' server ' /etc/haproxy/mlkit.d/flights.cfg) = 1"
    )
    ended = all(lab.fleet("ssh", host, look, check=False).returncode == 0 for host in (1, 2))
    return lock_is_free(lab) and ended and bool(live_on(lab))


def lock_is_free(lab: Lab) -> bool:
    "Whether nobody holds a lock."
    ended = f"import json; lock = json.load(open('{FOLDER}/lock.json')); print(lock['heartbeat'] + lock['seconds'])"
    look = f'test ! -e {FOLDER}/lock.json || test $(date +%s) -gt $(python3 -c "{ended}" | cut -d. -f1)'
    return all(lab.fleet("ssh", host, look, check=False).returncode == 0 for host in (1, 2))


def heal(lab: Lab, fault: str) -> None:
    "Bring h2 back, or what was killed there, and wait until it answers."
    if fault in SERVICES:
        lab.fleet("ssh", 2, f"service {SERVICES[fault][1]} start", check=False)
    if fault == "hang":
        lab.fleet("ssh", 2, "pkill -CONT -x dockerd", check=False)
    for name, (_, state) in lab.fleet.states().items():
        if state != "up":
            lab.fleet({"down": "start", "cut": "heal"}[state], name[1:])
    for address in lab.addresses:
        eventually(lambda address=address: ask(address, "/livez"), seconds=60)


if __name__ == "__main__":
    sys.exit(main())
