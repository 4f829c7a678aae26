"What a server keeps in a temporary folder is its user's alone, under a name that nobody can take first."

import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path

CONF = Path(__file__).parents[1] / "deploy/serve/gunicorn.conf.py"
STARTED = f"""
import os, runpy
os.umask(0)
before = set(os.listdir(os.environ["TMPDIR"]))
told = runpy.run_path({str(CONF)!r})
print(os.environ["PROMETHEUS_MULTIPROC_DIR"], os.environ["MLKIT_RATES"], os.getpid(), sep="\\n")
class Master:
    reexec_pid = 0
assert runpy.run_path({str(CONF)!r})["metrics"] == told["metrics"], "a reload goes on with the same folder"
input()
told["on_exit"](Master)
"""


def test_the_folder_of_the_metrics_cannot_be_taken_by_another_user_first(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PROMETHEUS_", "MLKIT_"))}
    server = subprocess.Popen(
        [sys.executable, "-c", STARTED],
        env=environment | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    folder, rates, pid = (server.stdout.readline().strip() for _ in range(3))
    assert Path(folder).parent == tmp_path and Path(rates).parent == Path(folder)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert pid not in Path(folder).name, "a name that can be foreseen can be taken first"
    server.communicate("\n", timeout=30)
    assert server.returncode == 0 and not Path(folder).exists()


def test_a_folder_that_was_named_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    for name in ("MLKIT_MASTER", "MLKIT_RATES", "MLKIT_MAX_HELD"):
        monkeypatch.setenv(name, "0")  # set by the file: as before, afterwards
    assert runpy.run_path(str(CONF))["metrics"] == tmp_path / "metrics"
