"What a deployment says of a host that fails once the release is recorded: nothing is taken back, so it has not failed."

import json
from types import SimpleNamespace

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.mlkit.deploy.plugins.action import host_step as steps
from ansible_collections.mlkit.deploy.plugins.module_utils import keeping, stroke_end
from ansible_collections.mlkit.deploy.plugins.module_utils.failed import Failed

OURS = "0123456789ab"


@pytest.fixture
def step(monkeypatch):
    "Runs a stroke of which the host gives this result; what the playbook gets."
    monkeypatch.setattr(ActionBase, "run", lambda *_: {})

    def run(stroke, gave, is_decided):
        action = object.__new__(steps.ActionModule)
        action._task = SimpleNamespace(args={"module": "it", "stroke": stroke, "is_decided": is_decided})
        action._execute_module = lambda *_, **__: dict(gave)
        return action.run(None, {})

    return run


@pytest.mark.parametrize(
    "gave, is_decided, fails",
    [
        ({"failed": True, "cause": "disk full: /var"}, True, False),
        ({"failed": True, "module_stderr": "Killed"}, True, False),
        ({"failed": True, "cause": "the host went back", "ends_by_itself": False}, True, True),
        ({"failed": True, "cause": "disk full: /var"}, False, True),
        ({"failed": True, "cause": "it is recorded, but …", "ends_by_itself": True}, False, False),
    ],
    ids=[
        "another has recorded it",
        "also where the step crashed",
        "but this host went back",
        "a host alone",
        "a host alone that has recorded it",
    ],
)
def test_a_host_that_fails_once_the_release_is_recorded_ends_by_itself(step, gave, is_decided, fails):
    came = step("keep", gave, is_decided)
    assert came.get("failed", False) is fails and came.get("unreachable", False) is not fails
    assert ("the host ends the deployment by itself" in came.get("msg", "")) is not fails


def test_a_step_that_crashed_while_it_recorded_for_all_is_asked_again(step):
    assert step("commit", {"failed": True, "module_stderr": "Killed"}, False)["lost"]
    assert "lost" not in step("commit", {"failed": True, "cause": "the lock was lost"}, False)


@pytest.mark.parametrize("is_recorded", [True, False], ids=["recorded", "not recorded yet"])
def test_a_host_whose_engine_is_gone_says_whether_it_has_recorded_the_release(
    tmp_path, monkeypatch, is_recorded
):
    def fails(*_):
        raise Failed("docker update: cannot connect")

    folder = tmp_path / "flights"
    folder.mkdir()
    state = {"format": "mlkit.state/1", "deployment": OURS if is_recorded else "another"}
    (folder / "state.json").write_text(json.dumps(state))
    unlocked = []
    for name, does in [
        ("wait_for_hold", lambda _: ({}, None)),
        ("unlock", unlocked.append),
        ("commit", (lambda *_: {"number": 1}) if is_recorded else fails),
        ("settle", fails),
    ]:
        monkeypatch.setattr(stroke_end, name, does)
    want = {"home": str(tmp_path), "service": "flights", "entry": {"deployment": OURS}}
    with pytest.raises(Failed) as failed:
        stroke_end.keep(SimpleNamespace(want=want))
    assert failed.value.more.get("ends_by_itself", False) is is_recorded
    assert unlocked  # the host needs it


@pytest.mark.parametrize(
    "engine, words",
    [("docker", "does not run"), ("", "cannot be looked at, for docker does not answer there")],
)
def test_a_container_that_cannot_be_looked_at_is_not_said_to_be_down(monkeypatch, engine, words):
    monkeypatch.setattr(keeping, "served", lambda _: {8401})
    monkeypatch.setattr(keeping, "running_at", lambda *_: 0)
    monkeypatch.setattr(keeping, "find", lambda _: engine)
    with pytest.raises(Failed, match=f"mlkit-flights-blue {words}"):
        keeping.require_serving("docker", "mlkit-flights-blue", "flights", "does not run")


@pytest.mark.parametrize("new, stopped", [(8401, ["docker", "stop", "--time", "30", "0ld"]), (0, None)])
def test_the_old_container_goes_by_its_id_and_only_where_the_new_one_runs(monkeypatch, new, stopped):
    asked = []
    monkeypatch.setattr(keeping, "served", lambda _: {8401})
    monkeypatch.setattr(keeping, "running_at", lambda _, each: new if each == "mlkit-flights-blue" else 8402)
    monkeypatch.setattr(keeping, "said", lambda *words: asked.append(list(words)))
    plan = {"container": "mlkit-flights-blue", "old": {"id": "0ld", "container": "mlkit-flights-green"}}
    pending = {"service": "flights", "begun": {"engine": "docker", "plan": plan}}
    keeping.stop_replaced({**pending, "drain": [], "drain_seconds": 0, "stop_seconds": 30})
    assert asked == ([stopped] if stopped else [])
