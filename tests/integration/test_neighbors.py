"Two projects on the same hosts do not disturb each other, and one leaves without a trace but its journal."

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
    assert json.loads(churn.ask()[1])["model"]["digest"] in churn.models


def of_churn(fleet, number):
    "What a host has that is churn's."
    words = "docker ps -aq --filter label=mlkit.service=churn; docker image ls -q mlkit/churn; ls -A /var/lib/mlkit/churn; "
    words += "grep -l churn -r /etc/haproxy /etc/init.d /etc/cron.d /etc/mlkit 2>/dev/null; ss -ltnH '( sport >= 8310 and sport <= 8312 )'"
    return fleet.ssh(number, words + "; true").split()


def test_some_hosts_are_meant_by_name_and_the_others_keep_what_they_have(neighbors):
    churn = neighbors["churn"]
    refused = churn.mlkit("deploy", "lab", churn.models[1], "--hosts", "h2,h9", check=False)
    assert refused.returncode == 2 and "environment lab has no host 'h9'" in refused.stderr
    assert "building" not in refused.stderr
    plan = churn.mlkit("deploy", "lab", churn.releases[1], "--hosts", "h2", "--dry-run").stdout
    assert plan.splitlines()[-1].startswith("h2: ") and churn.releases[1] in plan.splitlines()[-1]
    assert churn.mlkit("status", "lab").returncode == 0 and "h1:" not in plan
    churn.mlkit("deploy", "lab", churn.releases[1], "--hosts", "h2")
    found = json.loads(churn.mlkit("status", "lab", "--json", check=False).stdout)
    live = {host["host"]: host["services"][0]["release"] for host in found["hosts"]}
    assert live == {"h1": churn.releases[0], "h2": churn.releases[1]} and "the hosts differ" in str(
        found["drift"]
    )
    assert churn.mlkit("status", "lab", "--hosts", "h2").returncode == 0
    assert churn.mlkit("exec", "lab", "--hosts", "h2", "--", "true").stdout == ""
    lines = churn.mlkit("logs", "lab", "--hosts", "h1", "-n", "1").stdout.splitlines()
    assert all(line.startswith("h1") for line in lines)
    churn.mlkit("rollback", "lab", "--hosts", "h2")
    assert churn.mlkit("status", "lab").returncode == 0


def test_a_service_that_is_removed_leaves_its_journal_and_nobody_notices(neighbors):
    flights, churn = neighbors["flights"], neighbors["churn"]
    assert of_churn(flights.fleet, 2)
    with Load(flights.address, 8300) as load:
        said = churn.mlkit(
            "remove", "lab", "--hosts", "h2", "--with-predictions", "--why", "given back"
        ).stdout
        assert "h2: removed its port, " in said and "take them out of" in said
        assert of_churn(flights.fleet, 2) == ["journal.jsonl"]
        left = flights.fleet.ssh(
            2, "docker network ls; ls /etc/init.d /usr/local/lib/mlkit"
        )  # flights has it, too
        assert "mlkit-closed" in left and "recover-mlkit-flights" in left and "ansible" in left
        again = churn.mlkit("remove", "lab", "--hosts", "h2").stdout
        assert again == "h2: removed nothing, it was not there\n" and of_churn(flights.fleet, 2) == [
            "journal.jsonl"
        ]
    assert not load.failures and set(load.models) == {flights.models[0]}
    journal = churn.mlkit("journal", "lab", "--verify").stdout
    assert "are as they were written" in journal
    assert (
        "removed" in churn.mlkit("journal", "lab").stdout
        and "given back" in churn.mlkit("journal", "lab").stdout
    )
    churn.lab(**churn.settings | {"deploy_pause": 4})
    steps = churn.mlkit("deploy", "lab", churn.releases[1], "--json").stdout.splitlines()
    waits = [
        step
        for step in map(json.loads, steps)
        if step.get("task") == "Wait before the next hosts are switched"
    ]
    assert max(step["seconds"] for step in waits) >= 4 and {step["host"] for step in waits} == {"h2"}
    assert churn.mlkit("status", "lab").returncode == 0


def test_predictions_that_are_only_there_are_not_lost_in_silence(neighbors):
    churn = neighbors["churn"]
    churn.fleet.ssh(1, "echo kept >> /var/lib/mlkit/churn/predictions/predictions-test.jsonl")
    refused = churn.mlkit("remove", "lab", "--hosts", "h1", check=False)
    assert refused.returncode != 0 and "of predictions and labels" in refused.stderr
    assert "mlkit remove lab --with-predictions" in refused.stderr
    assert json.loads(churn.ask()[1])["model"]["digest"] in churn.models
