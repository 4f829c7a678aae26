"Who holds a lock: two deployers of one user@host are never taken for each other."

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "playbooks/action_plugins/take_lock.py"
spec = importlib.util.spec_from_file_location("take_lock", SOURCE)
take_lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(take_lock)
WHO = "ann@laptop"


def ended_process():
    "The owner that a deployer was, which has ended."
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = take_lock.name_of(WHO, process.pid)
    process.communicate(b"\n")
    return owner


def test_a_deployer_of_this_machine_that_has_ended_is_dead_and_a_living_one_is_not():
    assert take_lock.is_dead(ended_process(), WHO)
    assert not take_lock.is_dead(take_lock.name_of(WHO, os.getpid()), WHO)


def test_another_process_with_the_same_number_does_not_make_a_dead_deployer_live():
    alive = take_lock.name_of(WHO, os.getpid())
    start = take_lock.start_of(os.getpid())
    assert take_lock.is_dead(alive.replace(f"-{start})", f"-{int(start) - 1})"), WHO)


def test_what_cannot_be_known_from_here_is_not_called_dead():
    owner = ended_process()
    assert not take_lock.is_dead(owner, "bob@laptop")
    assert not take_lock.is_dead(owner.replace(take_lock.place(), "0" * 8), WHO)  # a clone, or after a boot
    assert not take_lock.is_dead("ann@laptop pid 1", WHO)  # as an older mlkit wrote it


@pytest.mark.skipif(os.geteuid() != 0, reason="another pid namespace needs root")
def test_a_deployer_in_another_pid_namespace_is_another_place():
    code = f"import sys; sys.path.insert(0, {str(SOURCE.parent)!r}); import take_lock; print(take_lock.name_of({WHO!r}, 1))"
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    owner = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    assert take_lock.place() not in owner and not take_lock.is_dead(owner, WHO)
