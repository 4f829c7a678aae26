"What a new release shows when it answers live requests: a share of them, all of them, or copies of them."

import pytest
from deploy_lab import Load, model_in

WATCH = ["-e", "service_watch_seconds=4", "-e", "service_watch_requests=20"]


def test_a_release_that_answers_well_goes_from_its_share_to_all(hosts, serving, other):
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(other, "-e", "service_canary_share=30", *WATCH)
    assert played.code == 0, played.output
    assert not load.failures and set(load.answers) == {model_in(serving), model_in(other)}
    gates = {gate["gate"]: gate for gate in hosts.journal()[-1]["gates"]}
    assert {"errors", "p99 seconds", "golden rows that differ", "seconds until ready"} <= set(gates)
    assert all(gate["passed"] for gate in gates.values()) and gates["p99 seconds"]["value"] > 0
    assert hosts.live() == model_in(other)


def points_back_at_once(output):
    "Whether the step that failed says that the proxy does not lead to the new container any more."
    failed = next(line for line in output.splitlines() if line.startswith("fatal:"))
    return "refused while it answered live" in failed and '"switched": false' in failed


@pytest.mark.parametrize("share", ["0", "30"])
@pytest.mark.parametrize("broken, cause", [("fails live requests", "is over 0.01"), ("slow", "p99 seconds")])
def test_a_release_that_fails_or_dawdles_live_is_taken_back(hosts, serving, release, broken, cause, share):
    with Load(hosts.fleet.address(1)) as load:
        played = hosts.deploy(release(3, broken), "-e", f"service_canary_share={share}", *WATCH)
    assert played.code == 2 and cause in played.output and "refused while it answered live" in played.output
    assert share != "0" or points_back_at_once(played.output), played.output
    assert hosts.live() == model_in(serving)
    entry = hosts.journal()[-1]
    assert entry["outcome"] == "failed" and not all(gate["passed"] for gate in entry["gates"])
    assert not load.failures or broken == "fails live requests"
    with Load(hosts.fleet.address(1)) as load:
        assert hosts.deploy(serving).code == 0
    assert not load.failures and set(load.answers) == {model_in(serving)}
