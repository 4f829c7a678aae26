"""Real parts for the integration tests: a container engine, the images that a release starts from, a fleet of hosts.

Where a part is missing, a developer's run says which tests were not run and why. In CI (`CI=true`) that is a failure.
"""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOSTS = 3


def cannot_run(why):
    "End a test whose part is missing: loudly in CI, as not run elsewhere."
    report = pytest.fail if os.environ.get("CI") else pytest.skip
    report(f"{why}; to prepare this machine: sudo .ci/system")


def run(*words, check=True, timeout=300, **options):
    "Run a command; when it fails, fail the test with what it said."
    done = subprocess.run(
        [str(w) for w in words], capture_output=True, text=True, errors="replace", timeout=timeout, **options
    )
    return checked(done, check)


def checked(done, check=True):
    "What a command gave; when it failed, fail the test with what it said."
    if check and done.returncode:
        command = " ".join(map(str, done.args))
        pytest.fail(f"{command}\nexit {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False)
    return done


def answers(engine):
    try:
        return subprocess.run([engine, "info"], capture_output=True, timeout=30).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(scope="session")
def engine():
    "The name of a container engine that answers."
    return next(filter(answers, ["docker", "podman"]), None) or cannot_run("no container engine answers")


@pytest.fixture(scope="session")
def base_images(engine):
    "The build arguments with which the Dockerfile needs no image registry."
    if os.geteuid():
        cannot_run("making the base images needs root")
    run(ROOT / "deploy/image/base", engine)
    return [
        "--build-arg",
        "BASE_IMAGE=mlkit-base:bookworm",
        "--build-arg",
        "BUILD_IMAGE=mlkit-build:bookworm",
    ]


class Fleet:
    "Test hosts, `h1` and on, in a state folder of their own."

    def __init__(self, folder, suite="bookworm"):
        self.folder, self.suite = folder, suite
        self.inventory = folder / "inventory.ini"

    def __call__(self, *words, check=True):
        "Run `fleet WORDS`."
        return run(
            ROOT / "deploy/fleet/fleet",
            *words,
            check=check,
            env={**os.environ, "MLKIT_FLEET": str(self.folder), "MLKIT_SUITE": self.suite},
        )

    def ssh(self, host, command, check=True):
        "What `command` prints on host number `host`."
        return self("ssh", host, command, check=check).stdout.strip()

    def send_image(self, engine, image, host):
        "Copy an image of this machine's engine to host number `host`."
        fleet = f"MLKIT_FLEET={shlex.quote(str(self.folder))} {ROOT}/deploy/fleet/fleet"
        run("bash", "-o", "pipefail", "-c", f"{engine} save {image} | {fleet} ssh {host} docker load")

    def copy(self, file, host, place):
        "Put a file of this machine in a place on host number `host`, as an ssh session that was cut leaves it."
        fleet = f"MLKIT_FLEET={shlex.quote(str(self.folder))} {ROOT}/deploy/fleet/fleet"
        command = shlex.quote(f"mkdir -p {Path(place).parent} && cat > {place}")
        run("bash", "-o", "pipefail", "-c", f"cat {file} | {fleet} ssh {host} {command}")

    def states(self):
        "Each host's name, address and state."
        return {
            name: (address, state)
            for name, address, state in map(str.split, self("list").stdout.splitlines())
        }

    def address(self, host):
        return self.states()[f"h{host}"][0]

    def restore(self):
        "Bring back every host that a test has killed or cut off."
        for name, (_, state) in self.states().items():
            if state != "up":
                self({"down": "start", "cut": "heal"}[state], name[1:])


@pytest.fixture(scope="module")
def make_fleet(tmp_path_factory):
    "Makes running fleets, which end with the tests of a file: no host remembers what another file deployed."
    if os.geteuid():
        cannot_run("a fleet needs root")
    made = []

    def make(hosts, engine="docker", suite="bookworm"):
        fleet = Fleet(tmp_path_factory.mktemp("fleet"), suite)
        made.append(fleet)
        fleet("up", hosts, engine)
        return fleet

    yield make
    for fleet in made:
        fleet("down")


@pytest.fixture(scope="module")
def fleet(make_fleet):
    "Three running hosts, shared by the tests of a file: whoever breaks one calls `fleet.restore()`."
    return make_fleet(HOSTS)


@pytest.fixture(scope="session")
def ansible():
    "Runs a command of this environment's Ansible: `ansible('ansible-playbook', '-i', fleet.inventory, …)`."
    from forked_playbooks import ForkedPlaybooks

    folder = Path(sys.executable).parent

    def call(command, *words, check=True, **environ):
        if command == "ansible-playbook" and not environ:
            return checked(playbooks.run(words), check)
        env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **environ}
        return run(folder / command, *words, check=check, env=env)

    with ForkedPlaybooks() as playbooks:
        yield call


@pytest.fixture(scope="module")
def hosts(make_fleet, ansible):
    "Three hosts to deploy on, shared by the tests of a file."
    from deploy_lab import Hosts

    return Hosts(make_fleet(3), ansible)


@pytest.fixture(scope="session")
def release(engine, base_images, tmp_path_factory):
    "Make a release once: release(version, broken=…) is its folder."
    from deploy_lab import make_release

    folder, made = tmp_path_factory.mktemp("releases"), {}

    def get(version, broken="no"):
        if (version, broken) not in made:
            made[version, broken] = make_release(engine, base_images, folder, version, broken)
        return made[version, broken]

    return get


@pytest.fixture
def serving(hosts, release):
    "The one of two good releases that is live on h1: a test begins with what the one before left, and deploys `other`."
    return hosts.make_live([release(1), release(2)], 1)


@pytest.fixture
def both_serving(hosts, release):
    "The one of two good releases that is live on h1 and h2."
    return hosts.make_live([release(1), release(2)], 1, 2)


@pytest.fixture
def other(hosts, release):
    "The one of two good releases that is not live on h1."
    from deploy_lab import model_in

    return next(each for each in (release(2), release(1)) if hosts.serves(1) != model_in(each))


@pytest.fixture
def ansible_process():
    "Starts a command of this environment's Ansible, with a process group of its own."
    started, folder = [], Path(sys.executable).parent

    def start(command, *words):
        env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(
            subprocess.Popen([folder / command, *words], env=env, start_new_session=True, **silent)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    "A running S3 server; whoever kills it starts it again."
    from s3_server import S3Server

    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.kill()


@pytest.fixture(params=["folder", "s3"])
def address(request, tmp_path, monkeypatch):
    "The URL of an empty store: once a folder, once a prefix in a bucket, with the variables that lead there."
    if request.param == "folder":
        return str(tmp_path / "store")
    server = request.getfixturevalue("s3")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.url(tmp_path.name)
