"""The lock of a host: real flock, real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.mlkit.deploy.plugins.module_utils import deploy_lock as locks

TAKER = f"""import sys, time; sys.path.insert(0, {str(Path(locks.__file__).parent)!r})
from deploy_lock import take, Held
path, token, seconds, begin = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
time.sleep(max(0, begin - time.time()))
try: take(path, token + "@test", token, seconds, "a race"); print("won", flush=True)
except Held as held: print("held by", held.owner, flush=True); sys.exit(1)
if len(sys.argv) > 5: time.sleep(600)
"""


def taker(path, token, seconds, begin=0.0, *stay):
    words = [sys.executable, "-c", TAKER, path, token, str(seconds), str(begin), *stay]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock.json")


def test_of_takers_at_once_one_wins(path):
    begin = time.time() + 1.5
    started = [taker(path, f"t{n}", 60, begin) for n in range(6)]
    said = [each.communicate(timeout=30)[0].strip() for each in started]
    winner = locks.look(path)["owner"]
    assert sorted(said) == [f"held by {winner}"] * 5 + ["won"]


def test_who_holds_it_is_said(path):
    locks.take(path, "ann@desk", "a", 60, "release 3")
    with pytest.raises(locks.Held) as held:
        locks.take(path, "bob@desk", "b", 60, "")
    assert held.value.owner == "ann@desk" and "release 3" in str(held.value)
    assert 0 <= held.value.age < 5 and 55 < held.value.expires_in <= 60


def test_a_killed_holder_is_waited_out(path):
    holder = taker(path, "dead", 1.5, 0.0, "stay")
    assert holder.stdout.readline() == "won\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with pytest.raises(locks.Held):
        locks.take(path, "bob@desk", "b", 60, "")
    time.sleep(1.6)
    assert locks.take(path, "bob@desk", "b", 60, "")["owner"] == "bob@desk"


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_by_an_hour_holds_nobody_up(path, hours):
    locks.take(path, "ann@desk", "a", 120, "")
    lock = json.loads(Path(path).read_text())
    lock["taken"], lock["heartbeat"] = (lock[key] + 3600 * hours for key in ("taken", "heartbeat"))
    Path(path).write_text(json.dumps(lock))
    assert locks.look(path) is None
    assert locks.take(path, "bob@desk", "b", 120, "")["owner"] == "bob@desk"
    with pytest.raises(locks.Lost):  # and who had it is told at the next sign of life
        locks.renew(path, "a")


def test_a_renewed_lock_outlives_its_first_term(path):
    locks.take(path, "ann@desk", "a", 0.6, "")
    for _ in range(3):
        time.sleep(0.3)
        locks.renew(path, "a")
    with pytest.raises(locks.Held):
        locks.take(path, "bob@desk", "b", 60, "")


def test_renew_after_loss_raises(path):
    locks.take(path, "ann@desk", "a", 0.1, "")
    time.sleep(0.2)
    with pytest.raises(locks.Lost, match="ran out"):
        locks.renew(path, "a")
    locks.take(path, "bob@desk", "b", 60, "")
    with pytest.raises(locks.Lost, match="bob@desk has it now"):
        locks.renew(path, "a")
    assert not locks.release(path, "a") and locks.look(path)["owner"] == "bob@desk"


def test_released_and_broken_locks_are_free(path):
    locks.take(path, "ann@desk", "a", 60, "")
    assert locks.release(path, "a") and locks.look(path) is None
    locks.take(path, "ann@desk", "a", 60, "")
    assert locks.break_lock(path)["owner"] == "ann@desk"
    with pytest.raises(locks.Lost, match="released or broken"):
        locks.renew(path, "a")
    locks.take(path, "bob@desk", "b", 60, "")


def test_taking_ones_own_again_keeps_when_it_was_taken(path):
    first = locks.take(path, "ann@desk", "a", 60, "")
    assert locks.take(path, "ann@desk", "a", 60, "")["taken"] == first["taken"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "mlkit.lock/1"}'])
def test_a_file_that_is_no_lock_holds_nobody_up(path, content):
    Path(path).write_text(content)
    assert locks.look(path) is None
    locks.take(path, "ann@desk", "a", 60, "")
    assert json.loads(Path(path).read_text())["owner"] == "ann@desk"


def test_a_lock_that_a_newer_mlkit_wrote_is_not_taken_for_none(path):
    lock = locks.take(path, "ann@desk", "a", 60, "") | {"format": "mlkit.lock/2", "quorum": 2}
    Path(path).write_text(json.dumps(lock))
    for ask in (
        lambda: locks.look(path),
        lambda: locks.take(path, "bob@desk", "b", 60, ""),
        lambda: locks.renew(path, "a"),
        lambda: locks.release(path, "a"),
        lambda: locks.break_lock(path),
    ):
        with pytest.raises(
            locks.Lost, match="lock.json has the format mlkit.lock/2, and this mlkit knows mlkit.lock/1"
        ):
            ask()
    assert json.loads(Path(path).read_text()) == lock


def test_a_host_that_ends_a_deployment_by_itself_is_waited_for_and_nobody_else(path):
    locks.take(path, locks.OWNER, "h", 60, "ending a deployment")
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(locks.wait_for_host(path)))
    waiting.start()
    locks.release(path, "h")
    waiting.join(10)
    assert seen == [None]
    locks.take(path, "ann", "a", 60, "")
    assert locks.wait_for_host(path)["owner"] == "ann"
