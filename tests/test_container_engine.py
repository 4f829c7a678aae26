"A container engine that hangs is given up in bounded time, in words: its program would wait for an answer for ever."

import os
import sys
import time

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import container_engine, keeping, recovery
from ansible_collections.mlkit.deploy.plugins.module_utils.failed import Failed

WORDS = "the container engine hangs: docker {} gave no answer within 1 s. What runs goes on running. Mend the engine there (systemctl restart docker)"


@pytest.fixture
def hangs(tmp_path, monkeypatch):
    "A docker that answers nothing."
    program = tmp_path / "docker"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(container_engine, "QUICK", 1)
    monkeypatch.setattr(container_engine, "SLOW", 1)


@pytest.mark.parametrize(
    "ask, command",
    [
        (lambda: container_engine.find(), "version"),
        (lambda: keeping.running_at("docker", "mlkit-flights-blue"), "container"),
        (lambda: recovery.Host("lock.json", "t").run(["docker", "start", "mlkit-flights-blue"]), "start"),
    ],
    ids=["whether it is there", "whether a container runs", "by the host itself"],
)
def test_an_engine_that_hangs_is_said_to_and_what_to_do(hangs, ask, command):
    began = time.monotonic()
    with pytest.raises(Failed) as failed:
        ask()
    assert WORDS.format(command) in str(failed.value)
    assert time.monotonic() - began < 10


def test_what_may_fail_goes_on_where_the_engine_hangs(hangs):
    assert WORDS.format("image") in keeping.said("docker", "image", "rm", "sha256:1")


@pytest.mark.parametrize(
    "words, seconds",
    [
        (["docker", "stop", "--time", "300", "a"], 360),
        (["podman", "rm", "--force", "a"], 60),
        (["docker", "load", "--input", "image.tar"], 0),
        (["docker", "inspect", "a"], 20),
    ],
)
def test_an_engine_may_take_as_long_as_what_it_is_asked_for(words, seconds):
    assert container_engine.patience(words) == seconds
