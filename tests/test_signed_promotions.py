"Where promotions are signed, nothing goes live by a pointer that nobody signed."

import subprocess

import pytest
from click.testing import CliRunner

from mlkit import registry
from mlkit.cli.main import main
from mlkit.settings import read_project

MODELS = ["sha256:" + each * 64 for each in "ab"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ann"], check=True)
    (tmp_path / "signers").write_text(f"ann {(tmp_path / 'ann.pub').read_text()}")
    (tmp_path / "settings.ini").write_text(
        "[project]\nname = flights\n[registry]\nsigners = signers\nkey = ann\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("MLKIT_STORE", "MLKIT_SIGNING_KEY"):
        monkeypatch.delenv(name, raising=False)
    project = read_project(tmp_path)
    for model in MODELS:
        registry.register(project.store, "flights", model, override="a test")
    return project


def test_what_is_promoted_is_signed_and_what_is_pointed_at_otherwise_goes_nowhere(project):
    done = CliRunner().invoke(main, ["promote", "flights@1", "--to", "champion", "--override", "a test"])
    assert done.exit_code == 0, done.output
    for command in (["release"], ["deploy", "local"]):  # the signature counts; only the bundle is not there
        assert "is not signed" not in CliRunner().invoke(main, command).output
    registry.promote(project.store, "flights", "2", "champion", "by whoever writes the store")
    for command in (["release"], ["deploy", "local"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 3 and "is not signed" in done.output, done.output
