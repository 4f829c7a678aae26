"Two projects on the same hosts do not disturb each other."

import json

import pytest
from fleeted import Fleeted
from laptop import Load


@pytest.fixture(scope="module")
def neighbors(tmp_path_factory, make_fleet, base_images):
    "Two projects, flights and churn, live on the same two hosts; churn has a release to go back to."
    fleet, found = make_fleet(2), {}
    for name, port in (("flights", 8300), ("churn", 8310)):
        folder = tmp_path_factory.mktemp(name)
        lab = Fleeted(folder, fleet, base_images, hosts=2, service_port=port)
        settings = folder / "settings.ini"
        settings.write_text(settings.read_text().replace("name = flights", f"name = {name}"))
        lab.models = [lab.train(3, late=20 + port % 7), lab.train(5, late=20 + port % 7)]
        lab.releases = [lab.release(model) for model in lab.models]
        lab.mlkit("deploy", "lab", lab.releases[0])
        found[name] = lab
    return found


def test_one_is_deployed_and_rolled_back_under_load_on_both(neighbors):
    flights, churn = neighbors["flights"], neighbors["churn"]
    before = flights.fleet.ssh(1, "docker ps -q --no-trunc --filter label=mlkit.service=flights")
    with Load(flights.address, 8300) as ours, Load(churn.address, 8310) as theirs:
        churn.mlkit("deploy", "lab", churn.releases[1])
        churn.mlkit("rollback", "lab")
    assert not ours.failures and set(ours.models) == {flights.models[0]}
    assert not theirs.failures and set(theirs.models) == set(churn.models)
    assert flights.fleet.ssh(1, "docker ps -q --no-trunc --filter label=mlkit.service=flights") == before
    found = json.loads(flights.mlkit("status", "lab", "--json").stdout)
    live = {service["service"]: service["release"] for service in found["hosts"][1]["services"]}
    assert live == {"flights": flights.releases[0], "churn": churn.releases[0]} and found["drift"] == []


def test_ports_that_overlap_are_refused(neighbors):
    churn = neighbors["churn"]
    churn.lab(**churn.settings | {"service_port": 8302})
    refused = churn.mlkit("deploy", "lab", churn.releases[1], check=False)
    churn.lab(**churn.settings | {"service_port": 8310})
    assert refused.returncode == 3 and "port taken: churn wants the ports 8302 to 8304" in refused.stderr
    assert json.loads(churn.ask()[1])["model"]["digest"] == churn.models[0]
