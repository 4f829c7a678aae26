"Who holds a lock: two deployers of one user@host are never taken for each other."

import os
import subprocess
import sys

import pytest
from ansible_collections.mlkit.deploy.plugins.action import begin_deployment as deployer

WHO = "ann@laptop"


def ended_process():
    "The owner that a deployer was, which has ended."
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = deployer.name_of(WHO, process.pid)
    process.communicate(b"\n")
    return owner


def test_a_deployer_of_this_machine_that_has_ended_is_dead_and_a_living_one_is_not():
    assert deployer.is_dead(ended_process(), WHO)
    assert not deployer.is_dead(deployer.name_of(WHO, os.getpid()), WHO)


def test_another_process_with_the_same_number_does_not_make_a_dead_deployer_live():
    alive = deployer.name_of(WHO, os.getpid())
    start = deployer.start_of(os.getpid())
    assert deployer.is_dead(alive.replace(f"-{start})", f"-{int(start) - 1})"), WHO)


def test_what_cannot_be_known_from_here_is_not_called_dead():
    owner = ended_process()
    assert not deployer.is_dead(owner, "bob@laptop")
    assert not deployer.is_dead(owner.replace(deployer.place(), "0" * 8), WHO)  # a clone, or after a boot
    assert not deployer.is_dead("ann@laptop pid 1", WHO)  # as an older mlkit wrote it


@pytest.mark.skipif(os.geteuid() != 0, reason="another pid namespace needs root")
def test_a_deployer_in_another_pid_namespace_is_another_place():
    code = (
        f"import sys; sys.path = {sys.path}; import {deployer.__name__} as it; print(it.name_of({WHO!r}, 1))"
    )
    words = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", code]
    owner = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    assert deployer.place() not in owner and not deployer.is_dead(owner, WHO)
