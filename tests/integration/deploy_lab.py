"A fleet to deploy on, releases of a dummy service, and clients that count what they are refused: for tests of playbooks."

import collections
import contextlib
import fcntl
import hashlib
import http.client
import json
import random
import re
import shutil
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

from conftest import ROOT, run
from eventually import eventually

PORT = 8000


class Hosts:
    "A fleet to deploy on. Tests share h1, which keeps what earlier ones deployed; h2 and h3 begin fresh."

    def __init__(self, fleet, ansible):
        self.fleet, self.ansible = fleet, ansible

    def play(self, name, *words, inventory=None):
        "Run a playbook as a person would: its exit code, and what it printed on both streams."
        playbook = ROOT / f"playbooks/{name}.yml"
        inventory = inventory or self.fleet.inventory
        done = self.ansible("ansible-playbook", "-i", inventory, playbook, *words, check=False)
        return collections.namedtuple("Played", "code output")(done.returncode, done.stdout + done.stderr)

    def deploy(self, release, *words, limit="h1"):
        return self.play("deploy", "-e", f"release={release}", "--limit", limit, *words)

    def make_live(self, releases, *numbers):
        "Have these hosts serve the one of the releases that h1 serves already, or else the first; which it is."
        live = next((each for each in releases if self.serves(1) == model_in(each)), releases[0])
        if not all(self.serves(number) == model_in(live) for number in numbers):
            played = self.deploy(live, limit=":".join(f"h{number}" for number in numbers))
            assert played.code == 0, played.output
        return live

    def serves(self, number):
        "The digest of the model that answers; nothing where none does."
        try:
            return self.live(number)
        except (OSError, http.client.HTTPException):
            return ""

    def journal(self, number=1):
        lines = self.fleet.ssh(number, "cat /var/lib/mlkit/flights/journal.jsonl").splitlines()
        return [json.loads(line) for line in lines]

    def containers(self, number=1):
        "Name → whether it runs, of every container on the host."
        lines = self.fleet.ssh(number, "docker ps --all --format '{{.Names}} {{.State}}'").splitlines()
        return {name: state == "running" for name, state in map(str.split, lines)}

    def only_container(self, number=1):
        "The name of the container that runs, once no other does: the host retires what was replaced after the deployment."
        return eventually(lambda: one(name for name, runs in self.containers(number).items() if runs))

    def comes_back(self, number=1):
        "The names of the containers that their engine starts with itself: by `docker inspect`, running or not."
        form = "{{.Name}} {{.HostConfig.RestartPolicy.Name}}"
        lines = self.fleet.ssh(number, f"docker inspect -f '{form}' $(docker ps --all --quiet)").splitlines()
        return [name.lstrip("/") for name, policy in map(str.split, lines) if policy != "no"]

    def is_retired(self, number=1):
        "Whether nothing is left to do after a deployment: what it replaced is stopped, and what is kept no longer is gone."
        return not self.fleet.ssh(number, "ls /var/lib/mlkit/flights/pending.json", check=False)

    def live(self, number=1):
        "The digest of the model that answers through the proxy."
        connection = http.client.HTTPConnection(self.fleet.address(number), PORT, timeout=10)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        if answer.status != 200:
            raise ConnectionError(f"/readyz answered {answer.status}")
        return json.load(answer)["model"]["digest"]


def one(found):
    "What was found, if it is one thing; else nothing."
    found = list(found)
    return found[0] if len(found) == 1 else None


def model_of(version):
    return "sha256:" + hashlib.sha256(f"flights {version}".encode()).hexdigest()


def model_in(release):
    "The digest of the model in a release."
    return json.loads((release / "release.json").read_text())["model"]["digest"]


def make_release(engine, base_images, folder, version, broken):
    "A release of the dummy service, in the form that every release has."
    model = model_of(version)
    release_id = f"flights-{version}-{hashlib.sha256(f'{version} {broken}'.encode()).hexdigest()[:12]}"
    folder, tag = folder / release_id, f"mlkit/flights:{release_id.removeprefix('flights-')}"
    folder.mkdir()
    told = ["--build-arg", f"MODEL={model}", "--build-arg", f"BROKEN={broken}"]
    context = folder / "context"
    shutil.copytree(Path(__file__).parent / "dummy_service", context)
    (context / "payload").write_bytes(random.Random(f"{version} {broken}").randbytes(2_000_000))
    with exclusive_lock("build"):
        run(engine, "build", "--tag", tag, *base_images, *told, context)
        run(engine, "save", "--output", folder / "image.tar", tag)
        image = run(engine, "image", "inspect", "--format", "{{.Id}}", tag).stdout.strip()
        run(engine, "image", "rm", tag)
    shutil.rmtree(context)
    rows = [{"x": 0.1 * number} for number in range(50)]
    golden = {"rows": rows, "predictions": [row["x"] / 3 + int(model[-4:], 16) for row in rows]}
    record = {
        "id": release_id,
        "name": "flights",
        "version": version,
        "image": {"tag": tag, "id": image, "archive": "image.tar"},
        "model": {"name": "flights", "version": version, "digest": model},
    }
    (folder / "golden.json").write_text(json.dumps({"format": "mlkit.golden/1", **golden}))
    (folder / "release.json").write_text(json.dumps({"format": "mlkit.release/1", **record}))
    return folder


@contextlib.contextmanager
def exclusive_lock(what):
    "Of all processes that run tests on this machine, one at a time is in this block."
    with open(Path(tempfile.gettempdir()) / f"mlkit-tests-{what}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Load:
    "Clients that never try twice, for as long as the block runs. They keep their connections, or each request has its own."

    def __init__(self, address, clients=4, tls=False, keep=True):
        self.tls, self.keep = tls, keep
        self.address, self.stop = address, threading.Event()
        self.answers, self.failures = collections.Counter(), []
        self.threads = [threading.Thread(target=self.client) for _ in range(clients)]

    def client(self):
        if self.tls:  # the test's own certificates are signed by nobody
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(self.address, PORT, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection(self.address, PORT, timeout=10)
        while not self.stop.wait(0.02):
            try:
                connection.request("POST", "/predict", json.dumps({"rows": [{"x": 1.5}]}))
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status}: {body[:200]}")
                self.answers[json.loads(body)["model"]] += 1
                if not self.keep:
                    connection.close()
            except Exception as error:
                self.failures.append(repr(error))
                connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def certificate(folder, name):
    "A PEM file with a certificate for this name, and its key."
    key, chain, whole = folder / "key.pem", folder / "chain.pem", folder / f"{name}.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    subprocess.run(
        [*words, "-subj", f"/CN={name}", "-keyout", key, "-out", chain], check=True, capture_output=True
    )
    whole.write_text(chain.read_text() + key.read_text())
    return whole


def changed(output):
    return int(re.search(r"changed=(\d+)", output).group(1))
