"A new model in the shadow of the live one: it is asked what clients asked, and its answers go to nobody."

import json

import pytest
from eventually import eventually
from fleeted import Fleeted
from laptop import Load

SHADOW = {"service_shadow_replay": 1000, "service_watch_requests": 50}


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_fleet, base_images):
    lab = Fleeted(tmp_path_factory.mktemp("lab"), make_fleet(1), base_images)
    lab.model = lab.train(3)
    lab.first = lab.release(lab.model)
    lab.mlkit("deploy", "lab", lab.first)
    with Load(lab.address, 8300) as load:
        eventually(lambda: len(load.models) > 100)
    return lab


def logged(lab):
    "The releases that answered, by the prediction log."
    lines = lab.fleet.ssh(1, "cat /var/lib/mlkit/flights/predictions/*").splitlines()
    return [record["release"] for record in map(json.loads, lines) if len(record["rows"]) == 1]


def gates(lab):
    return {gate["gate"]: gate for gate in lab.journal()[-1]["gates"]}


def test_a_model_whose_predictions_shift_is_refused_before_a_client_sees_one(lab):
    shifted = lab.release(lab.train(3, late=35))
    lab.lab(**lab.settings | SHADOW)
    with Load(lab.address, 8300) as load:
        done = lab.mlkit("deploy", "lab", shifted, check=False)
    assert done.returncode == 3 and "refused in the shadow of the live release: shadow psi" in done.stderr
    assert not load.failures and set(load.models) == {lab.model} and lab.live() == lab.model
    assert not gates(lab)["shadow psi"]["passed"] and set(logged(lab)) == {lab.first}


def test_a_model_that_answers_alike_goes_live_and_the_difference_is_told(lab):
    alike = lab.release(lab.train(3, late=21))
    lab.lab(**lab.settings | SHADOW | {"service_shadow_replay": 0, "service_shadow_seconds": 3})
    with Load(lab.address, 8300) as load:
        done = lab.mlkit("deploy", "lab", alike, "--plain")
    assert not load.failures and lab.live() != lab.model
    found = gates(lab)["shadow psi"]
    assert found["passed"] and found["requests"] >= 50 and "Say how the answers differ" in done.stderr


def test_a_canary_whose_predictions_shift_is_taken_back(lab):
    before = lab.live()
    shifted = lab.release(lab.train(4, late=35))
    lab.lab(
        **{key: value for key, value in lab.settings.items() if "shadow" not in key},
        service_canary_share=50,
        service_watch_seconds=8,
    )
    with Load(lab.address, 8300) as load:
        done = lab.mlkit("deploy", "lab", shifted, check=False)
    assert done.returncode == 3 and "prediction psi" in done.stderr
    assert not load.failures and lab.live() == before and len(set(load.models)) == 2
