"`mlkit deploy local`: a real gunicorn on this machine, as a person without root and without an engine has it."

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import psutil
import pytest
from eventually import eventually
from laptop import Laptop, Load


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    laptop.first, laptop.second, laptop.third = laptop.train(3), laptop.train(5), laptop.train(7)
    laptop.mlkit("deploy", "local", laptop.first)
    yield laptop
    laptop.mlkit("stop", "local")


def test_the_live_server_answers_the_golden_rows_to_the_bit(laptop):
    assert (
        "20 of 20 golden rows answered to the bit as the model did when it was saved"
        in laptop.mlkit("status", "local").stdout
    )


def test_golden_rows_that_we_ask_are_nobodys_predictions(laptop):
    def counted():
        with urllib.request.urlopen(f"http://127.0.0.1:{laptop.port}/metrics") as answer:
            text = answer.read().decode()
        [line] = [s for s in text.splitlines() if s.startswith("mlkit_rows_total ")]
        logged = [*laptop.folder.glob(".mlkit/local/predictions/*.predictions.jsonl*")]
        return float(line.split()[1]), sum(len(file.read_bytes().splitlines()) for file in logged)

    before = counted()
    laptop.mlkit("deploy", "local", laptop.first)
    laptop.mlkit("status", "local")
    assert counted() == before
    assert (laptop.folder / ".mlkit/local/probe.key").stat().st_mode & 0o777 == 0o600


def test_the_curl_line_works_when_pasted(laptop):
    [line] = [s for s in laptop.mlkit("status", "local").stdout.splitlines() if s.startswith("ask it:")]
    done = subprocess.run(["bash", "-c", line.removeprefix("ask it:")], capture_output=True, text=True)
    assert len(json.loads(done.stdout)["predictions"]) == 1


def test_a_new_model_is_switched_in_without_a_failed_request(laptop):
    laptop.mlkit("deploy", "local", laptop.first)
    with Load("127.0.0.1", laptop.port) as load:
        for model in (laptop.second, laptop.first, laptop.second):
            laptop.mlkit("deploy", "local", model)
    assert not load.failures
    assert set(load.models) == {laptop.first, laptop.second}


def test_a_model_that_is_broken_on_disk_never_goes_live(laptop):
    laptop.mlkit("deploy", "local", laptop.first)
    text = laptop.folder / "store/models" / laptop.third.replace(":", "-") / "model.txt"
    whole = text.read_bytes()
    text.write_bytes(whole.replace(b"leaf_value=", b"leaf_value=9", 1))
    done = laptop.mlkit("deploy", "local", laptop.third, check=False)
    text.write_bytes(whole)
    assert done.returncode == 3 and "model.txt is not what the bundle was made with" in done.stderr
    assert laptop.model() == laptop.first


def test_a_model_without_a_passing_verdict_never_goes_live(laptop):
    laptop.mlkit("deploy", "local", laptop.first)
    for verdict in laptop.folder.glob("store/verdicts/*/verdict.json"):
        if laptop.third in verdict.read_text():
            verdict.unlink()
    done = laptop.mlkit("deploy", "local", laptop.third, check=False)
    assert done.returncode == 1 and "has no passing verdict" in done.stderr
    assert laptop.model() == laptop.first


def test_a_killed_server_comes_back(laptop):
    laptop.mlkit("deploy", "local", laptop.first)
    gunicorn = laptop.process("gunicorn")
    for process in [*gunicorn.children(), gunicorn]:
        process.kill()
    assert eventually(lambda: laptop.model() == laptop.first)


def test_a_taken_port_is_named(laptop, tmp_path):
    other = Laptop(tmp_path).with_models_of(laptop)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", other.port))
        taken.listen()
        done = other.mlkit("deploy", "local", laptop.first, check=False)
    assert done.returncode == 3 and f"port {other.port} is taken by another program" in done.stderr
    assert not list((tmp_path / ".mlkit/local").glob("*.pid"))


def test_a_stopped_server_leaves_no_process(laptop, tmp_path):
    other = Laptop(tmp_path).with_models_of(laptop)
    other.mlkit("deploy", "local", laptop.first)
    processes = [other.process("supervisor"), *other.process("supervisor").children(recursive=True)]
    assert other.mlkit("stop", "local").stdout == "stopped\n"
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert other.mlkit("stop", "local").stdout == "nothing is running\n"


WRONG = {
    "no JSON": (b"rows", "application/json", 400, "the body is not JSON"),
    "a missing column": (
        b'{"rows":[{"carrier":"AA"}]}',
        "application/json",
        400,
        "column 'distance': missing",
    ),
    "an unknown column": (
        b'{"rows":[{"carrier":"AA","distance":1,"dist":1}]}',
        "application/json",
        400,
        "column 'dist': unknown column",
    ),
    "an unseen level": (
        b'{"rows":[{"carrier":"ZZ","distance":1}]}',
        "application/json",
        400,
        "unseen level 'ZZ'",
    ),
    "NaN": (b'{"rows":[{"carrier":"AA","distance":NaN}]}', "application/json", 400, "NaN is not JSON"),
    "a string for a number": (
        b'{"rows":[{"carrier":"AA","distance":"1"}]}',
        "application/json",
        400,
        "text where a number is expected",
    ),
    "another type": (b"a,b", "text/html", 415, "cannot read a body of type 'text/html'"),
    "100 MB": (b" " * 100_000_000, "application/json", 413, "the body has more than 16,777,216 bytes"),
}


@pytest.mark.parametrize("body, content_type, status, words", WRONG.values(), ids=WRONG)
def test_bad_input_is_told_what_was_wrong(laptop, body, content_type, status, words):
    answered, problem = laptop.ask(body, content_type)
    assert answered == status and words in problem["detail"]


def test_metrics_add_up_over_the_workers(laptop):
    def total():
        connection = http.client.HTTPConnection("127.0.0.1", laptop.port, timeout=10)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("mlkit_rows_total "))

    before = total()
    for _ in range(20):
        laptop.ask(b'{"rows":[{"distance":3,"carrier":"AA"},{"distance":4,"carrier":"AA"}]}')
    assert total() == before + 40


def test_an_orphaned_server_is_stopped_too(laptop, tmp_path):
    other = Laptop(tmp_path).with_models_of(laptop)
    other.mlkit("deploy", "local", laptop.first)
    gunicorn = other.process("gunicorn")
    os.kill(other.process("supervisor").pid, signal.SIGKILL)
    assert other.mlkit("stop", "local").stdout == "stopped\n"
    assert not gunicorn.is_running() or gunicorn.status() == psutil.STATUS_ZOMBIE


def test_a_wheel_made_from_the_source_distribution_carries_what_stands_beside_the_library(root, tmp_path):
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "build", "-q", "-o", tmp_path, root], check=True)  # the wheel from the sdist
    [wheel] = tmp_path.glob("*.whl")
    templates = {f"mlkit/new/templates/{path.name}" for path in (root / "mlkit/new/templates").iterdir()}
    assert templates and templates <= set(zipfile.ZipFile(wheel).namelist())
    python = tmp_path / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "--no-deps", wheel], check=True)
    code = "from mlkit.settings import shipped; print(shipped('playbooks/deploy.yml'), shipped('Dockerfile'))"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.count("mlkit/shipped/") == 2, done.stderr
