"A hundred runs on four kernels at a time: none is lost, each leaves a whole record."

import json
import re

from quick_notebook import assert_whole, mlkit, quick_project

RUNS, JOBS = 100, 4


def test_a_hundred_runs_on_four_jobs(tmp_path):
    project = quick_project(tmp_path)
    values = ",".join(map(str, range(RUNS)))
    words = ["-p", "n", values, "--metric", "twice", "--maximize", "--jobs", str(JOBS), "--json"]
    record = json.loads(mlkit(project, "sweep", "work", *words))
    assert [t["outcome"] for t in record["trials"]] == ["done"] * RUNS
    assert [t["value"] for t in record["trials"]] == [2.0 * n for n in range(RUNS)]

    known = {run.id: run for run in assert_whole(project)}
    assert known.keys() == {t["run"] for t in record["trials"]} and len(known) == RUNS
    for trial in record["trials"]:
        run, folder = known[trial["run"]], project.root / "store/runs" / trial["run"]
        assert run.parameters == {"n": trial["number"], "broken": -1} and run.metrics == trial["metrics"]
        assert (
            run.outcome == "done"
            and run.start < run.end
            and run.key.startswith("sha256:")
            and run.error is None
        )
        assert sorted(path.name for path in folder.iterdir()) == ["executed.ipynb", "run.json", "stdout.log"]
        assert json.loads((folder / "executed.ipynb").read_text())["cells"]
    assert len({run.key for run in known.values()}) == RUNS
    assert (project.root / f"store/sweeps/{record['id']}/report.html").exists()


def test_one_failed_trial_is_named_and_the_exit_code_says_it(tmp_path):
    project = quick_project(tmp_path)
    words = ["sweep", "work", "-p", "n", "1,2,3", "-p", "broken", "2", "--jobs", "2", "--json"]
    record = json.loads(mlkit(project, *words, codes=(1,)))
    assert [t["outcome"] for t in record["trials"]] == ["done", "failed", "done"]
    assert re.match(
        r"work.ipynb failed: cell In \[3\]: AssertionError: broken on purpose", record["trials"][1]["error"]
    )
