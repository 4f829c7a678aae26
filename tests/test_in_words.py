"What services and deployments are called: by the playbooks' own lines and by mlkit's tables, which import one file."

import pytest
from ansible_collections.mlkit.deploy.plugins.filter import mlkit as filters
from ansible_collections.mlkit.deploy.plugins.module_utils import in_words

LIVE = {"release": "flights-2-aa", "running": True, "model": "sha256:1", "model_through_proxy": "sha256:1"}


@pytest.mark.parametrize(
    ("live", "word", "line"),
    [
        (LIVE, "ready", "flights-2-aa ready; port 8000"),
        (LIVE | {"running": False}, "down", "flights-2-aa DOWN: its container does not run"),
        (LIVE | {"model": None}, "not ready", "flights-2-aa NOT READY: the container"),
        (LIVE | {"out": True, "model_through_proxy": None}, "out", "flights-2-aa OUT of the balancer"),
        (
            LIVE | {"model_through_proxy": "sha256:2"},
            "not reached",
            "flights-2-aa NOT REACHED: the container",
        ),
        (None, "nothing live", "flights-2-aa DOWN"),
    ],
)
def test_the_health_of_a_service_is_a_word_of_a_table_and_words_of_a_line(live, word, line):
    here = {"live": live and live | {"colour": "blue", "port": 8001}, "traffic": None, "certificate": None}
    here |= {"state": {"release": "flights-2-aa", "port": 8000}, "lock": None, "drift": []}
    seen = {"engine": "docker", "services": {"flights": here}, "free_bytes": {"/": 9e9}}
    assert in_words.health(live) == word
    [said] = filters.status_lines(seen)
    assert said.startswith("flights: " + line)


def test_a_disk_with_little_room_is_named_once_however_many_folders_are_on_it():
    free = {"/var/lib/docker": 80e6, "/var/lib/mlkit": 80e6, "/srv": 9e9}
    [said] = in_words.little_room(free)
    assert said.startswith(
        "little room: 80 MB are free for /var/lib/docker and /var/lib/mlkit, and a deployment"
    )
    lines = filters.status_lines({"engine": "docker", "services": {}, "free_bytes": free})
    assert lines == [f"DRIFT: {said}"]


def test_hosts_that_differ_are_named_by_release_and_one_without_an_engine_is_left_out():
    seen = {
        host: {"engine": engine, "services": {"flights": {"live": {"release": release}}} if release else {}}
        for host, engine, release in (("h1", "docker", "a"), ("h2", "docker", ""), ("h3", "", ""))
    }
    assert filters.host_differences(seen, "flights") == [
        "flights: DRIFT: the hosts differ: h1: a; h2: nothing"
    ]
    assert filters.host_differences(seen) == []


def test_a_line_of_a_journal_has_what_there_is_also_when_somebody_has_changed_it():
    entry = {
        "when": "2026-11-24T10:00:00Z",
        "outcome": "failed",
        "release": "flights-2-aa",
        "by": "ann",
        "seconds": 3,
    }
    [line] = filters.journal_lines([entry | {"reason": "not ready"}])
    assert line == "2026-11-24T10:00:00Z  failed       flights-2-aa  by ann  3 s  not ready"
    assert in_words.journal_line({"when": [], "release": {}}, ["h1"]).split()[:3] == ["[]", "?", "h1"]
    assert filters.journal_lines([]) == ["no deployment yet"]
