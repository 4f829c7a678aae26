"Whose word a journal is, when root on a host writes it anew, chain and all, and the store's copy with it: real keys, the host's own chain."

import json
import subprocess

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import journal_chain as chain

from mlkit.deploy import journal
from mlkit.deploy.playbook import TaskEvent
from mlkit.records import canonical
from mlkit.release.order import order_key, sign_order
from mlkit.settings import Environment
from mlkit.store import Store
from mlkit.testing import small_project

MADE = {"release": "flights-3-aa", "image": "sha256:1", "model": "sha256:2", "record": "sha256:3"}
SET_BY_THE_CHAIN = {"format", "number", "previous", "digest"}


@pytest.fixture
def signers(tmp_path):
    "The line of ann, whose key is in this folder."
    key = tmp_path / "ann"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    return f"ann {key.with_suffix('.pub').read_text()}"


@pytest.fixture
def host(tmp_path, signers, monkeypatch):
    "A host whose journal has three deployments that ann ordered, and one that it led back by itself; the store has copies."

    class Host:
        store, path = Store(str(tmp_path / "store")), str(tmp_path / "journal.jsonl")
        folder = "journal/lab/flights/h1"

        def rewrite(self, entries):
            "A chain that holds, and a store that says the same."
            (tmp_path / "journal.jsonl").unlink(missing_ok=True)
            for entry in entries:
                bare = {name: value for name, value in entry.items() if name not in SET_BY_THE_CHAIN}
                written = chain.append(self.path, bare)
                self.store.put(f"{self.folder}/{written['number']:06}.json", canonical(written))

        def entries(self):
            return [json.loads(line) for line in chain.read(self.path)]

        def read(self, holds=True):
            "What `mlkit journal` says: whose each entry is, and what is wrong."
            lines = chain.read(self.path)
            told = {"entries": self.entries(), "problems": chain.verify(lines)}
            assert (told["problems"] == []) == holds, "what the chain alone shows"
            monkeypatch.setattr(journal, "look", lambda *_: [TaskEvent("h1", "Read", "ok", result=told)])
            environment = Environment("lab", tmp_path / "inventory", {})
            read, problems = journal.read_journal(self.store, environment, "flights", signers)
            return [entry["signed"] for entry in read], problems

    host, entries = Host(), []
    project = small_project({"release": f"key = {tmp_path / 'ann'}"})
    for number in (1, 2, 3):
        made = MADE | {"release": f"flights-{number}-aa"}
        order = sign_order(project, order_key(project), "deploy", "lab", ["h1"], "ann@laptop", made=made)
        said = {"by": "ann@laptop", "when": order["when"], "service": "flights", "host": "h1"}
        entries.append(made | said | {"outcome": "deployed", "order": order})
    entries.append(
        {"by": "the host itself", "outcome": "went back", "service": "flights", "host": "h1"}
        | {"when": entries[-1]["when"], "release": "flights-2-aa"}
    )
    host.rewrite(entries)
    return host


def test_a_journal_as_it_was_ordered(host):
    assert host.read() == (["signed by ann"] * 3 + ["the host's own doing"], [])


@pytest.mark.parametrize(
    "change, problem",
    [
        ({"release": "flights-2-bb"}, "entry 2 is not what ann ordered: release is 'flights-2-bb'"),
        ({"by": "bob@desk"}, "entry 2 is not what ann ordered: by is 'bob@desk', ordered was 'ann@laptop'"),
        ({"image": "sha256:9"}, "entry 2 is not what ann ordered: image is 'sha256:9'"),
        (
            {"outcome": "rolled back"},
            "entry 2 is not what ann ordered: 'rolled back' does not come of deploy",
        ),
        ({"when": "2020-01-01T00:00:00Z"}, "entry 2 is not what ann ordered: its time is"),
    ],
)
def test_an_entry_that_was_edited_and_the_chain_and_the_copy_made_anew_is_not_what_was_ordered(
    host, change, problem
):
    entries = host.entries()
    entries[1] |= change
    host.rewrite(entries)
    signed, [said] = host.read()
    assert said.startswith(f"h1: {problem}") and sorted(signed)[0] == "not as ordered"


def test_an_order_that_was_edited_with_its_entry_has_a_signature_that_does_not_fit(host):
    entries = host.entries()
    entries[1] |= {"release": "flights-2-bb", "order": entries[1]["order"] | {"release": "flights-2-bb"}}
    host.rewrite(entries)
    assert host.read()[1] == [
        "h1: entry 2 has a signature that does not fit: the order was changed, or no signer of the project gave it"
    ]


def test_an_entry_that_was_made_of_an_older_order_is_a_copy(host):
    entries = host.entries()
    host.rewrite([*entries, entries[0]])
    assert host.read()[1] == [
        f"h1: entry {number} has an order that another entry has too: one of them was copied"
        for number in (1, 5)
    ]


def test_an_entry_without_its_order_is_one_that_nobody_signed(host):
    "That it had one, nothing tells but a copy that was not rewritten too."
    entries = host.entries()
    kept = host.store.get(f"{host.folder}/000002.json")
    del entries[1]["order"]
    host.rewrite(entries)
    signed, problems = host.read()
    assert signed.count("not signed") == 1 and problems == []
    host.store.put(f"{host.folder}/000002.json", kept)
    assert "entry 2 is another one in the store" in host.read()[1][0]


def test_a_line_that_is_not_an_entry_is_named_and_stops_nothing(host, tmp_path):
    with open(tmp_path / "journal.jsonl", "a") as file:
        file.write("[1]\n")
    signed, problems = host.read(holds=False)
    assert sorted(signed) == ["not signed", *["signed by ann"] * 3, "the host's own doing"]
    assert problems == ["h1: line 5 is not a JSON object: it was torn or changed"]
