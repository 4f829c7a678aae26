"A few seconds of fuzzing for each codec. For longer: `python tests/fuzz/bodies.py CODEC --seconds 3600`."

import subprocess
import sys

import pytest

pytest.importorskip("atheris", reason="no atheris for this Python: the codecs were not fuzzed")


@pytest.mark.parametrize("codec", ["json", "ndjson", "csv", "arrow", "float64", "gzip", "zstd", "accept"])
def test_no_body_breaks_a_codec(codec, root, tmp_path):
    command = [sys.executable, root / "tests/fuzz/bodies.py", codec, "--seconds", "5", "--findings", tmp_path]
    # By a shell: the kernel counts this process's memory as its child's, and the fuzzer would take it for its own.
    command = ["sh", "-c", '"$@"; exit $?', "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DONE" in done.stderr
    assert not list(tmp_path.iterdir())
