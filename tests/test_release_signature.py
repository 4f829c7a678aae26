"Whom a host trusts: real keys, the host's own check."

import hashlib
import json
import subprocess

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils.failed import Failed
from ansible_collections.mlkit.deploy.plugins.module_utils.release_trust import (
    accepted,
    note_signer,
    texts_of,
)

from mlkit.release.signing import sign

GOLDEN = '{"rows": []}\n'
RECORD = json.dumps({"golden": "sha256:" + hashlib.sha256(GOLDEN.encode()).hexdigest()})


@pytest.fixture
def signer(tmp_path):
    "Makes a key, and its line among the signers."

    def make(name, **limits):
        key = tmp_path / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", key], check=True)
        ends = [f'{limit.replace("_", "-")}="{when}"' for limit, when in limits.items()]
        options = ",".join(['namespaces="mlkit-release"', *ends])
        return key, f"{name} {options} {key.with_suffix('.pub').read_text()}"

    return make


@pytest.fixture
def check(tmp_path):
    "Checks a release folder: check(signers, host_signers, signed by)."
    folder, host = tmp_path / "release", tmp_path / "host_signers"
    folder.mkdir()
    (folder / "release.json").write_text(RECORD)
    (folder / "golden.json").write_text(GOLDEN)

    def judge(signers="", host_signers="", by=None, kept=False):
        if by:
            sign(folder / "release.json", by)
        host.write_text(host_signers)
        return accepted(texts_of(str(folder)), signers, str(folder), kept, str(host))

    judge.folder = folder
    return judge


def test_a_release_is_accepted_from_its_signer_alone(check, signer):
    (ann, ann_line), (bob, bob_line) = signer("ann"), signer("bob")
    assert check() == ""
    with pytest.raises(Failed, match="is not signed"):
        check(ann_line)
    assert check(ann_line, by=ann) == "ann"
    with pytest.raises(Failed, match="signed by nobody whom the project's signers name"):
        check(ann_line, by=bob)
    assert check(ann_line + bob_line) == "bob"


def test_what_was_changed_after_signing_is_refused(check, signer):
    ann, line = signer("ann")
    check(line, by=ann)
    (check.folder / "golden.json").write_text(GOLDEN + " ")
    with pytest.raises(Failed, match=r"golden\.json is not the one that ann signed"):
        check(line)
    (check.folder / "release.json").write_text(RECORD + " ")
    with pytest.raises(Failed, match=r"release\.json was changed after ann signed it"):
        check(line)


def test_a_host_has_the_last_word(check, signer):
    (ann, ann_line), (_, bob_line) = signer("ann"), signer("bob")
    with pytest.raises(Failed, match="host_signers of the host name"):
        check(ann_line, host_signers=bob_line, by=ann)
    assert check(host_signers=ann_line) == "ann"


def test_an_old_key_counts_until_its_day(check, signer):
    old, line = signer("old", valid_before="20200101")
    with pytest.raises(Failed, match="counts no longer|was changed"):
        check(line, by=old)
    assert check(line.replace("20200101", "20990101")) == "old"


def test_a_signature_for_something_else_does_not_count(check, signer):
    ann, line = signer("ann")
    record = check.folder / "release.json"
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", ann, "-n", "file", record], check=True)
    with pytest.raises(Failed, match="signed for something else|signed by nobody"):
        check(line)


def test_a_line_that_does_not_count_shadows_no_other(check, signer):
    key, line = signer("ann")
    for_git = line.replace("ann", "ann-commits", 1).replace("mlkit-release", "git")
    assert check(for_git + line, by=key) == "ann"
    assert check(line + for_git, by=key) == "ann"
    with pytest.raises(Failed, match="signed for something else"):
        check(for_git, by=key)


def test_a_replaced_key_ends_no_rollback_and_starts_no_deployment(check, signer):
    (ann, ann_line), (_, bob_line) = signer("ann"), signer("bob")
    signed_by = check(ann_line, by=ann)
    with pytest.raises(Failed, match="a key that counts no longer"):
        check(bob_line, kept=True)  # it never was live here
    note_signer(str(check.folder), {"signer": signed_by, "when": "2026-01-01T00:00:00Z"})
    assert check(bob_line, host_signers=bob_line, kept=True) == "ann"
    with pytest.raises(Failed, match="a key that counts no longer"):
        check(bob_line)
    (check.folder / "release.json").write_text(RECORD + " ")
    with pytest.raises(Failed, match="changed after|counts no longer"):
        check(bob_line, kept=True)
    (check.folder / "release.json").write_text(RECORD)
    (check.folder / "golden.json").write_text(GOLDEN + " ")
    with pytest.raises(Failed, match=r"golden\.json is not the one"):
        check(bob_line, kept=True)


def test_an_unsigned_release_leaves_no_note(check):
    note_signer(str(check.folder), {"signer": "", "when": "2026-01-01T00:00:00Z"})
    assert not (check.folder / "accepted.json").exists()
