"A release that the clients of the live one could not ask: refused on the host before anything changes, unless a person says why."

import json
import shutil

import pytest
from deploy_lab import Load, model_of

DISTANCE = {"name": "distance", "type": "integer", "missing": False}
CARRIER = {
    "name": "carrier",
    "type": "category",
    "missing": True,
    "levels": ["AA", "UA"],
    "unseen": "missing",
}
REQUIRED = {"name": "gate", "type": "number", "missing": False}
OPTIONAL = {"name": "wind", "type": "number", "missing": True}


@pytest.fixture
def taking(release, tmp_path):
    "A release with a signature: these columns are what its clients send."

    def make(version, *columns):
        folder = shutil.copytree(release(version), tmp_path / release(version).name)
        record = json.loads((folder / "release.json").read_text())
        record["signature"] = {"inputs": columns, "output": {"name": "late", "kind": "probability"}}
        (folder / "release.json").write_text(json.dumps(record))
        return folder

    return make


def test_a_signature_that_breaks_clients_goes_live_only_for_a_reason_that_is_kept(hosts, taking):
    played = hosts.deploy(taking(31, DISTANCE, CARRIER))
    assert played.code == 0, played.output
    with Load(hosts.fleet.address(1)) as load:
        breaking = taking(32, DISTANCE, REQUIRED)
        hosts.only_container()
        before, played = hosts.containers(), hosts.deploy(breaking)
        assert played.code != 0
        assert "input 'carrier' is not known any more" in played.output
        assert "input 'gate' is new, and every request must have it" in played.output
        assert "--breaking" in played.output
        assert hosts.live() == model_of(31) and hosts.containers() == before
        played = hosts.deploy(taking(33, DISTANCE, CARRIER, OPTIONAL))
        assert played.code == 0 and hosts.live() == model_of(33), played.output
        played = hosts.deploy(breaking, "-e", json.dumps({"service_breaking": "the field was never sent"}))
        assert played.code == 0 and hosts.live() == model_of(32), played.output
        played = hosts.play("rollback", "-e", "service=flights", "--limit", "h1")
        assert played.code == 0 and hosts.live() == model_of(33), "back to what clients know is never refused"
    assert load.failures == []
    reasons = [entry for entry in hosts.journal() if "the field was never sent" in json.dumps(entry)]
    assert [entry["release"].split("-")[1] for entry in reasons] == ["32"], hosts.journal()
