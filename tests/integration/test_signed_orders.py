"Whose order an entry of a host's journal is, on a real host whose root writes the journal anew."

import json
import subprocess

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import journal_chain as chain
from fleeted import Fleeted

JOURNAL = "/var/lib/mlkit/flights/journal.jsonl"
SET_BY_THE_CHAIN = {"format", "number", "previous", "digest"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_fleet, base_images):
    "A host that serves a release which ann signed and ordered."
    lab = Fleeted(tmp_path_factory.mktemp("lab"), make_fleet(1), base_images)
    key = lab.folder / "ann"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    options = 'namespaces="mlkit-release,mlkit-order"'
    (lab.folder / "signers").write_text(f"ann {options} {key.with_suffix('.pub').read_text()}")
    settings = lab.folder / "settings.ini"
    settings.write_text("[release]\nsigners = signers\nkey = ann\n" + settings.read_text())
    lab.serves = lab.release(lab.train(3))
    lab.mlkit("deploy", "lab", lab.serves)
    return lab


def test_each_entry_says_whose_order_it_was(lab):
    assert "signed by ann" in lab.mlkit("journal", "lab").stdout
    assert "1 are signed, 0 are not" in lab.mlkit("journal", "lab", "--verify").stdout
    [entry] = lab.journal()
    order = entry["order"]
    assert (order["release"], order["hosts"], order["action"]) == (lab.serves, ["h1"], "deploy")
    assert entry["deployment"] == order["id"] and entry["by"] == order["by"]


def test_root_who_writes_the_journal_and_the_store_s_copy_anew_cannot_order_in_ann_s_name(lab, tmp_path):
    [kept] = lab.journal()
    copy = lab.folder / "store/journal/lab/flights/h1/000001.json"
    before = copy.read_bytes()

    def rewrite(entry):
        (tmp_path / "journal.jsonl").unlink(missing_ok=True)
        bare = {name: value for name, value in entry.items() if name not in SET_BY_THE_CHAIN}
        written = chain.append(str(tmp_path / "journal.jsonl"), bare)
        lab.fleet.ssh(1, f"cat > {JOURNAL} <<'END'\n{chain.canonical(written)}\nEND")
        copy.write_bytes(chain.canonical(written).encode())

    rewrite(kept | {"release": "flights-1-ffffffffffff"})
    done = lab.mlkit("journal", "lab", check=False)
    assert done.returncode == 3 and "not as ordered" in done.stdout
    assert "h1: entry 1 is not what ann ordered: release is 'flights-1-ffffffffffff'" in done.stderr
    rewrite(kept | {"by": "bob@desk", "order": kept["order"] | {"by": "bob@desk"}})
    done = lab.mlkit("journal", "lab", "--verify", check=False)
    assert done.returncode == 3 and "h1: entry 1 has a signature that does not fit" in done.stderr
    rewrite(kept)
    copy.write_bytes(before)
    assert lab.mlkit("journal", "lab", "--verify").returncode == 0


def test_a_rollback_is_signed_and_waits_for_no_key(lab):
    second = lab.release(lab.train(5))
    lab.mlkit("deploy", "lab", second)
    lab.mlkit("rollback", "lab")
    done = lab.mlkit("deploy", "lab", second, MLKIT_SIGNING_KEY="/nowhere")
    assert "the journal will not say whose order this was: there is no signing key /nowhere" in done.stderr
    lab.mlkit("remove", "lab", "--why", "the host is given back")
    entries = json.loads(lab.mlkit("journal", "lab", "--json").stdout)["entries"]
    assert [(entry["outcome"], entry["signed"]) for entry in entries] == [
        ("deployed", "signed by ann"),
        ("deployed", "signed by ann"),
        ("rolled back", "signed by ann"),
        ("deployed", "not signed"),
        ("removed", "signed by ann"),
    ]
