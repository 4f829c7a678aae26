"""The journal of a host: real files, real processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import journal_chain as chain


@pytest.fixture
def journal(tmp_path):
    path = str(tmp_path / "journal.jsonl")
    for n in range(1, 5):
        chain.append(path, {"release": f"flights-{n}-0a1b2c", "outcome": "deployed"})
    return path


def test_a_journal_as_written_verifies(journal):
    lines = chain.read(journal)
    assert chain.verify(lines) == []
    assert [json.loads(line)["number"] for line in lines] == [1, 2, 3, 4]
    assert json.loads(lines[0])["previous"] is None


def test_a_changed_line_is_found_and_named(journal):
    lines = chain.read(journal)
    lines[1] = lines[1].replace("deployed", "reverted")
    assert chain.verify(lines)[0].startswith("line 2 was changed")


def test_a_changed_line_with_its_digest_made_again_is_found_by_the_next(journal):
    lines = chain.read(journal)
    entry = json.loads(lines[1]) | {"outcome": "reverted"}
    lines[1] = chain.canonical(entry | {"digest": chain.digest_of(entry)})
    assert chain.verify(lines) == [
        "line 3 does not follow the line before it: one was changed, removed or moved"
    ]


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_removed_line_is_found(journal, gone):
    lines = chain.read(journal)
    del lines[gone]
    assert any(f"line {gone + 1} " in problem for problem in chain.verify(lines))


def accepted(path, **more):
    problems = chain.verify(chain.read(path))
    return chain.append(path, {"outcome": "accepted", "reason": "a new disk", "problems": problems} | more)


def test_what_a_person_has_accepted_is_told_no_more_and_what_comes_after_is(journal):
    lines = chain.read(journal)
    lines[1] = lines[1].replace("deployed", "reverted")
    Path(journal).write_text("\n".join(lines) + "\n")
    assert len(chain.verify(lines)) == 2
    accepted(journal)
    chain.append(journal, {"outcome": "deployed"})
    lines = chain.read(journal)
    assert chain.verify(lines) == []
    again = [*lines[:1], lines[1].replace("reverted", "rejected"), *lines[2:]]
    assert chain.verify(again)[0].startswith("line 2 was changed"), "it is not the change that was accepted"
    new = [*lines[:5], lines[5].replace("deployed", "reverted")]
    assert [problem[:18] for problem in chain.verify(new)] == ["line 6 was changed"]


def test_an_acceptance_that_was_changed_accepts_nothing(journal):
    lines = chain.read(journal)
    Path(journal).write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    accepted(journal)
    lines = chain.read(journal)
    assert chain.verify(lines) == []
    entry = json.loads(lines[-1])
    lines[-1] = chain.canonical(entry | {"reason": "another one"})
    assert len(chain.verify(lines)) > 1


def test_a_host_that_began_anew_goes_on_with_a_number_that_was_never_used(tmp_path):
    path = str(tmp_path / "journal.jsonl")
    chain.append(path, {"outcome": "deployed"})
    gone = ["entry 2 is in the store and not on the host: the journal was cut"]
    assert chain.append(path, {"outcome": "accepted", "problems": gone, "least": 8})["number"] == 8
    assert chain.append(path, {"outcome": "deployed"})["number"] == 9
    assert chain.verify(chain.read(path)) == []


def test_reordered_lines_are_found(journal):
    lines = chain.read(journal)
    lines[1], lines[2] = lines[2], lines[1]
    assert any("line 2 " in problem for problem in chain.verify(lines))


@pytest.mark.parametrize("rest", [b'{"release": "fli', b'{"whole": 1}', b"\xff\x00"])
def test_a_torn_last_line_is_set_aside_and_named(journal, rest):
    with open(journal, "ab") as file:
        file.write(rest)
    entry = chain.append(journal, {"outcome": "deployed"})
    assert chain.verify(chain.read(journal)) == []
    assert entry["number"] == 5 and entry["torn"]["bytes"] == len(rest)
    assert (Path(journal).parent / entry["torn"]["file"]).read_bytes() == rest


def test_verify_names_a_torn_line(journal):
    with open(journal, "ab") as file:
        file.write(b'{"release": "fli')
    assert chain.verify(chain.read(journal)) == ["line 5 is not a JSON object: it was torn or changed"]


def test_two_processes_append_at_once(tmp_path):
    path = str(tmp_path / "journal.jsonl")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(chain.__file__).parent)!r}); from journal_chain import append\n"
        "for n in range(40): append(sys.argv[1], {'by': sys.argv[2], 'n': n})"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, path, by]) for by in "ab"]
    assert [each.wait(60) for each in started] == [0, 0]
    lines = chain.read(path)
    assert len(lines) == 80 and chain.verify(lines) == []
    assert {by: [e["n"] for e in map(json.loads, lines) if e["by"] == by] for by in "ab"} == {
        by: list(range(40)) for by in "ab"
    }
