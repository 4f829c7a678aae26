"What every release promises, whatever its model: a small model in the real image."

import json
import re
import runpy
import shutil
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection

import pytest
from conftest import ROOT, run
from eventually import eventually
from live_server import save_model

from mlkit.release.image import stage
from mlkit.testing import small_model

# The flags with which a release is deployed.
HARDENED = "--read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges".split()

SLOW = b'{"rows":[{"distance":99,"temp":1,"carrier":"AA"}]}'


def features(columns):
    import time

    time.sleep(
        5 * (99 in columns["distance"])
    )  # what test_told_to_stop… asks for: longer than a busy machine dawdles
    return columns


@pytest.fixture(scope="session")
def context(tmp_path_factory):
    "A staged build context without a model."
    folder = tmp_path_factory.mktemp("context")
    for name in ("Dockerfile", "deploy/image/requirements.lock", "deploy/serve/gunicorn.conf.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "mlkit", folder / "mlkit", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def build(engine, base_images):
    "Builds a context and returns the image's name; the images go with the session."
    tags = []
    # podman's own image format has no health check
    options = [*base_images, *(["--format", "docker"] if engine == "podman" else [])]

    def build(folder):
        tags.append(f"mlkit-test:{uuid.uuid4().hex[:12]}")
        run(engine, "build", *options, "-t", tags[-1], folder)
        return tags[-1]

    yield build
    run(engine, "rmi", "-f", *tags)


@pytest.fixture(scope="session")
def image(build, context, tmp_path_factory):
    folder = shutil.copytree(context, tmp_path_factory.mktemp("image") / "context")
    save_model(folder / "model", step=features)
    return build(folder)


class Container:
    "A running release."

    def __init__(self, engine, image, *options):
        self.engine = engine
        self.id = run(engine, "run", "-d", "-p", "127.0.0.1::8000", *HARDENED, *options, image).stdout.strip()
        self.port = int(run(engine, "port", self.id, "8000").stdout.split(":")[-1])
        eventually(self.is_ready)

    def get(self, path, timeout=10):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request("GET", path)
        return connection.getresponse()

    def post(self, body):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        return connection.getresponse()

    def is_ready(self):
        return self.get("/readyz").status == 200

    def sh(self, command, check=True):
        return run(self.engine, "exec", self.id, "sh", "-c", command, check=check).stdout.strip()

    def workers(self):
        return set(self.sh("cat /proc/1/task/1/children").split())


@pytest.fixture
def start(engine, image):
    "Starts containers, which go with the test."
    started = []

    def start(*options):
        started.append(Container(engine, image, *options))
        return started[-1]

    yield start
    for container in started:
        run(engine, "rm", "-f", container.id)


def test_it_runs_as_nobody_without_rights_on_a_read_only_disk(start):
    release = start()
    assert release.sh("id -u") == "10001"
    status = release.sh("cat /proc/1/status")
    assert re.search(r"^CapEff:\s+0+$", status, re.M)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    assert release.sh("touch /app/x /model/x /etc/x && echo written", check=False) == ""


def test_it_holds_nothing_that_serving_does_not_need(start):
    unwanted = "-name pandas -o -name scipy -o -name pyarrow -o -name papermill -o -path '/opt/venv/*/pip'"
    assert start().sh(f"find / -xdev \\( {unwanted} \\) -print 2>/dev/null", check=False) == ""


def test_lightgbm_is_there_without_importing_it(start):
    load = (
        "import ctypes, glob; [path] = glob.glob('/opt/venv/lib/**/lib_lightgbm.so', recursive=True);"
        "print(hasattr(ctypes.CDLL(path), 'LGBM_BoosterPredictForMatSingleRowFast'))"
    )
    assert start().sh(f'python3 -c "{load}"') == "True"


def test_without_the_library_it_answers_as_with_it_and_refuses_contributions_in_words(
    build, engine, tmp_path
):
    bundle = small_model()
    stage(bundle, tmp_path, contributions=False)
    release = Container(engine, build(tmp_path))
    try:
        ours = "! -path '/app/*' ! -path '/opt/bytecode/app/*'"
        assert release.sh(f"find / -xdev -iname '*lightgbm*' {ours} 2>/dev/null", check=False) == ""
        answer = release.post(json.dumps({"rows": bundle.golden["rows"]}).encode())
        assert json.loads(answer.read())["predictions"] == bundle.golden["predictions"]
        connection = HTTPConnection("127.0.0.1", release.port, timeout=20)
        body = json.dumps({"rows": bundle.golden["rows"][:1]})
        connection.request("POST", "/predict?explain=1", body, {"Content-Type": "application/json"})
        refused = connection.getresponse()
        assert refused.status == 406 and "built without the library" in json.loads(refused.read())["detail"]
    finally:
        run(engine, "rm", "-f", release.id)


def test_its_own_health_check_passes_when_ready(start, engine):
    release = start("-e", "PORT=8000")
    check = json.loads(run(engine, "inspect", release.id).stdout)[0]["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    assert run(engine, "exec", release.id, *check[1:]).returncode == 0
    assert run(engine, "exec", "-e", "PORT=8001", release.id, *check[1:], check=False).returncode == 1


def test_told_to_stop_it_finishes_what_it_began(start, engine):
    release = start("-e", "WEB_CONCURRENCY=2")
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(release.post, SLOW)
        # this one, and it; a question that the busy worker took is given up, and asked of the other
        eventually(lambda: b"mlkit_requests_in_flight 2.0" in release.get("/metrics", 0.5).read())
        stopping = subprocess.Popen([engine, "stop", "-t", "30", release.id], stdout=subprocess.DEVNULL)
        assert slow.result().status == 200
    assert stopping.wait(timeout=60) == 0
    assert run(engine, "inspect", "-f", "{{.State.ExitCode}}", release.id).stdout.strip() == "0"


def test_no_start_compiles_what_it_imports(start, engine):
    release = start("-e", "PYTHONVERBOSE=1")
    assert (
        release.get("/").status
        == release.get("/openapi.json").status
        == release.get("/metrics").status
        == 200
    )
    logged = run(engine, "logs", release.id)
    origins = re.findall(r"^# code object from '(.*)'", logged.stdout + logged.stderr, re.M)
    assert len(origins) > 300 and [name for name in origins if name.endswith(".py")] == []


def test_a_dead_worker_is_replaced(start):
    release = start("-e", "WEB_CONCURRENCY=2")
    dead = min(release.workers())
    release.sh(f"kill -9 {dead}")
    eventually(lambda: len(release.workers()) == 2 and dead not in release.workers())
    eventually(release.is_ready)


def test_as_many_workers_as_asked_for(start):
    release = start("-e", "WEB_CONCURRENCY=3")  # ready as soon as one of them is
    eventually(lambda: len(release.workers()) == 3)


@pytest.mark.parametrize(
    "files, cpus",
    [
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "50000 100000\n"}, 0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "350000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({}, 8),
    ],
)
def test_the_cgroup_says_how_many_cpus_there_are(files, cpus, tmp_path, monkeypatch):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr("os.environ", {})
    assert runpy.run_path(ROOT / "deploy/serve/gunicorn.conf.py")["cpus_granted"](tmp_path) == cpus


def test_a_new_model_ships_as_one_small_layer(build, context, image, engine, tmp_path):
    def layers(image):
        return json.loads(run(engine, "inspect", image).stdout)[0]["RootFS"]["Layers"]

    def with_model(text):
        folder = shutil.copytree(context, tmp_path / text)
        (folder / "model/parts").mkdir(parents=True)
        (folder / "model/bundle.json").write_text(text)
        (folder / "model/parts/trees.txt").write_text(text)
        return build(folder)

    one, two = with_model("one"), with_model("two")
    assert layers(one)[:-1] == layers(two)[:-1] == layers(image)[:-1]
    assert layers(one)[-1] != layers(two)[-1]
    held = run(
        engine,
        "run",
        "--rm",
        "--entrypoint",
        "sh",
        two,
        "-c",
        "cd $MLKIT_MODEL && find . -type f | sort | xargs cat",
    )
    assert held.stdout == "twotwo"


def test_the_image_gets_the_versions_that_the_project_is_tested_with():
    def pins(lock):
        return set(re.findall(r"^[a-z0-9._-]+==[^\\\n]+", (ROOT / lock).read_text(), re.M))

    assert pins("deploy/image/requirements.lock") <= pins("requirements.lock")
