"A model in a folder, served by one command with what the plain installation brings."

import json
import signal
import subprocess
import urllib.request

import pytest
from eventually import eventually
from laptop import MLKIT, free_port
from live_server import PLAIN, save_model

from mlkit.cli.command import EXTRAS

BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture
def plain(tmp_path):
    "The environment of a plain installation: no package of an extra is there, except LightGBM's library."
    names = set.union(*EXTRAS.values()) - {"lightgbm"}
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=names))
    return {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}


def test_a_folder_is_served_until_it_is_interrupted(plain, tmp_path):
    model, port = save_model(tmp_path / "model"), free_port()
    words = [*MLKIT, "serve", str(model), "--port", str(port), "--workers", "2"]
    server = subprocess.Popen(words, env=plain, cwd=tmp_path, stderr=subprocess.PIPE, text=True)

    def ask():
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", PLAIN, headers)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)["predictions"]
        except OSError:
            return None

    try:
        [prediction] = eventually(ask)
        assert 0 < prediction < 1
        server.send_signal(signal.SIGINT)
        assert server.wait(40) == 0
    finally:
        server.kill()


@pytest.mark.parametrize(
    "words, said",
    [
        (["serve", "."], "no model in ."),
        (["train"], "pip install 'mlkit-workbench[train]'"),
    ],
)
def test_what_a_plain_installation_lacks_is_named_with_the_extra_that_brings_it(plain, tmp_path, words, said):
    (tmp_path / "settings.ini").write_text("[project]\nname = flights\n")
    done = subprocess.run([*MLKIT, *words], env=plain, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 3 and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 2 and "Traceback" not in done.stderr
