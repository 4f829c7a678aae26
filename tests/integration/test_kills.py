"""kill -9 at random moments, 50 times: of runners, of kernels, of sweeps and of their workers.

Whatever dies, no record is half, the store can be listed, each run has an outcome, and nothing of it goes on.
"""

import json
import multiprocessing
import random
import signal
import time
from contextlib import suppress

import psutil
import pytest
from eventually import eventually
from quick_notebook import assert_whole, mlkit, processes_of, quick_project, records, start_mlkit

from mlkit.runs.execute import run_notebook

RUNS, AT_ONCE = 15, 5  # runs of which the runner is killed, and as many of which the kernel is
WORKERS, SWEEPS = 13, 7
TRIALS = 24
LONGEST = 1.5  # seconds: about what a run takes


@pytest.fixture
def project(tmp_path):
    return quick_project(tmp_path)


@pytest.fixture(scope="module")
def start_run():
    "Starts a runner in a process of its own, forked from one that has paid for the imports."
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mlkit.runs.execute", "papermill"])

    def start(project, n):
        arguments = (project, project.root / "work.ipynb", {"n": n})
        process = context.Process(target=run_notebook, args=arguments, daemon=True)
        process.start()
        return process

    return start


def run_of(project, process):
    return next((run.id for run in records(project) if run.process["pid"] == process.pid), None)


def kill_runner(project, process, chance):
    time.sleep(chance.uniform(0, LONGEST / 2))
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
            if "mlkit.sweeps.workers" in command and str(project.root) in command:
                found.append(process)
    return found


def sweep_record(project):
    [path] = project.root.glob("store/sweeps/*/sweep.json")
    return json.loads(path.read_text())


def test_a_sweep_that_is_killed_again_and_again_does_every_trial_once(project):
    chance = random.Random("sweep")
    command = ["sweep", "work", "-p", "n", ",".join(map(str, range(TRIALS))), "--jobs", "2"]
    for number in range(SWEEPS):
        sweep = start_mlkit(project, *command)
        for _ in range(WORKERS if number == 0 else 0):
            worker = chance.choice(eventually(lambda: workers_of(project)))
            time.sleep(chance.uniform(0, LONGEST / 2))
            worker.kill()
            psutil.wait_procs([worker], 10)
        if number % 3:  # else maybe in its first second, where nothing has begun
            eventually(lambda: workers_of(project))
        time.sleep(chance.uniform(0, 2 * LONGEST))
        assert sweep.poll() is None, "it was done before it could be killed"
        sweep.kill()
        sweep.wait()
        eventually(lambda: not workers_of(project))
        assert_whole(project)

    mlkit(project, *command)
    trials, done = sweep_record(project)["trials"], [r for r in assert_whole(project) if r.outcome == "done"]
    assert [t["outcome"] for t in trials] == ["done"] * TRIALS
    assert sorted(t["run"] for t in trials) == sorted(run.id for run in done)
    assert sorted(run.parameters["n"] for run in done) == list(range(TRIALS))


def test_ctrl_c_stops_a_sweep_and_the_same_command_continues(project):
    command = ["sweep", "work", "-p", "n", ",".join(map(str, range(8))), "-p", "broken", "9"]
    sweep = start_mlkit(project, *command)
    eventually(lambda: any(run.outcome == "done" for run in records(project)))
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait(30) == 130
    assert not workers_of(project)
    stopped = sweep_record(project)
    assert stopped["outcome"] == "stopped" and {t["outcome"] for t in stopped["trials"]} >= {"done"}
    assert_whole(project)
    mlkit(project, *command)
    assert [t["outcome"] for t in sweep_record(project)["trials"]] == ["done"] * 8
