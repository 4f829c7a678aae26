"""kill -9 at random moments, 50 times: of runners, of kernels, of sweeps and of their workers.

Whatever dies, no record is half, the store can be listed, each run has an outcome, and nothing of it goes on.
"""

import json
import multiprocessing
import random
import time
from contextlib import suppress

import psutil
import pytest
from eventually import eventually
from quick_notebook import assert_whole, mlkit, processes_of, quick_project, records, start_mlkit

from mlkit.runner import run_notebook

RUNS, AT_ONCE = 15, 3  # runs of which the runner is killed, and as many of which the kernel is
SWEEPS, WORKERS = 8, 12
TRIALS = 20
LONGEST = 1.5  # seconds: about what a run takes


@pytest.fixture
def project(tmp_path):
    return quick_project(tmp_path)


@pytest.fixture(scope="module")
def start_run():
    "Starts a runner in a process of its own, forked from one that has paid for the imports."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlkit.runner", "papermill"])

    def start(project, n):
        arguments = (project, project.root / "work.ipynb", {"n": n})
        process = context.Process(target=run_notebook, args=arguments, daemon=True)
        process.start()
        return process

    return start


def run_of(project, process):
    return next((run.id for run in records(project) if run.process["pid"] == process.pid), None)


def kill_runner(project, process, chance):
    time.sleep(chance.uniform(0, LONGEST))
    process.kill()


def kill_kernel(project, process, chance):
    run = eventually(lambda: run_of(project, process) or not process.is_alive())
    eventually(lambda: processes_of(run) or not process.is_alive())
    time.sleep(chance.uniform(0, LONGEST / 2))
    for kernel in processes_of(run):
        if kernel.pid != process.pid:
            kernel.kill()


@pytest.mark.parametrize("kill", [kill_runner, kill_kernel])
def test_a_killed_run_has_an_outcome_and_leaves_nothing_behind(project, start_run, kill):
    chance, begun = random.Random(kill.__name__), set()
    for number in range(0, RUNS, AT_ONCE):
        processes = [start_run(project, n) for n in range(number, number + AT_ONCE)]
        for process in processes:
            kill(project, process, chance)
            begun |= {path.parent.name for path in project.root.glob(".mlkit/running/*/executed.ipynb")}
        for process in processes:
            process.join(30)
            assert process.exitcode is not None
        known = assert_whole(project)
    assert len(known) > RUNS // 2 and {run.outcome for run in known} & {"killed", "failed"}
    for run in known:
        assert run.id not in begun or (project.root / f"store/runs/{run.id}/executed.ipynb").exists()
    assert not list(project.root.glob(".mlkit/running/*"))


def workers_of(project):
    "The workers of any sweep in this project, also of one that is gone."
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = " ".join(process.cmdline())
            if "mlkit.workers" in command and str(project.root) in command:
                found.append(process)
    return found


def sweep_record(project):
    [path] = project.root.glob("store/sweeps/*/sweep.json")
    return json.loads(path.read_text())


def test_a_sweep_that_is_killed_again_and_again_does_every_trial_once(project):
    chance = random.Random("sweep")
    command = ["sweep", "work", "-p", "n", ",".join(map(str, range(TRIALS))), "--jobs", "2"]
    for _ in range(SWEEPS):
        sweep = start_mlkit(project, *command)
        if chance.random() < 0.7:  # else in its first seconds, where nothing has begun
            eventually(lambda sweep=sweep: workers_of(project) or sweep.poll() is not None)
        time.sleep(chance.uniform(0, 2 * LONGEST))
        sweep.kill()
        sweep.wait()
        eventually(lambda: not workers_of(project))
        assert_whole(project)

    killed = 0
    while killed < WORKERS:
        sweep = start_mlkit(project, *command)
        while sweep.poll() is None and killed < WORKERS:
            time.sleep(chance.uniform(0, LONGEST))
            for worker in chance.sample(found := workers_of(project), min(1, len(found))):
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
                    killed += 1
        assert sweep.wait(120) in (0, 1)
        assert_whole(project)
        if sweep_record(project)["outcome"] == "done":
            break

    mlkit(project, *command)
    trials, done = sweep_record(project)["trials"], [r for r in assert_whole(project) if r.outcome == "done"]
    assert [t["outcome"] for t in trials] == ["done"] * TRIALS
    assert sorted(t["run"] for t in trials) == sorted(run.id for run in done)
    assert sorted(run.parameters["n"] for run in done) == list(range(TRIALS))
