"What a deployment decides, tested as data: no host, no Ansible."

import pytest
from ansible_collections.mlkit.deploy.plugins.filter import mlkit as filters
from ansible_collections.mlkit.deploy.plugins.module_utils import deployment_plan as decide
from ansible_collections.mlkit.deploy.plugins.module_utils import golden_rows, service_records, shadow
from ansible_collections.mlkit.deploy.plugins.module_utils.failed import Failed


def release(version):
    return {
        "id": f"flights-{version}-0123456789ab",
        "name": "flights",
        "image": {"id": f"sha256:{version}", "tag": f"mlkit/flights:{version}"},
        "model": {"digest": f"sha256:{version}"},
    }


def after(*steps):
    "The state after deploying (3) or rolling back to (-3) each version in turn."
    state = None
    for step in steps:
        wanted = release(abs(step))
        kept = decide.releases_after(state, {}, wanted, 3, 0)
        state = decide.state_after(state, wanted, "blue", 8000, "2026-01-01T00:00:00Z", kept, step < 0)
    return state


def seen(state, colour="blue", **differences):
    "What service_info says of a host where all is well, but for the differences."
    live = {
        "release": state["release"],
        "running": True,
        "image": state["image"],
        "settings": "s",
        "colour": colour,
        "port": {"blue": 8001, "green": 8002}[colour],
        "model": state["model"],
        "model_through_proxy": state["model"],
        **differences,
    }
    releases = {each: {**release(int(each.split("-")[1])), "image_present": True} for each in state["kept"]}
    here = {"state": state, "live": live, "containers": [], "releases": releases}
    return {"services": {"flights": here}, "ports": {"flights": 8000}, "images": [state["image"]]}


def versions(ids):
    return [int(each.split("-")[1]) for each in ids]


def test_a_healthy_release_needs_no_change():
    plan = decide.service_plan(seen(after(1)), release(1), 8000, "s")
    assert plan["change"] is False and plan["summary"].endswith("is live and healthy: nothing to do")


@pytest.mark.parametrize(
    "difference",
    [
        {"running": False},
        {"image": "sha256:other"},
        {"settings": "other"},
        {"model": None},
        {"model_through_proxy": None},
        {"release": "flights-9-0123456789ab"},
    ],
)
def test_whatever_differs_is_put_right_beside_what_serves(difference):
    plan = decide.service_plan(seen(after(1), **difference), release(1), 8000, "s")
    assert plan["change"] is True
    assert (plan["container"], plan["port"]) == ("mlkit-flights-green", 8002)
    assert plan["old"]["container"] == "mlkit-flights-blue"


def test_the_new_container_never_takes_the_place_that_the_proxy_uses():
    "Not even when the state, left behind by a deployment that was cut off, names the other colour."
    plan = decide.service_plan(seen({**after(1), "colour": "blue"}, "green"), release(2), 8000, "s")
    assert plan["colour"] == "blue" and plan["old"]["colour"] == "green"


def test_services_with_overlapping_ports_are_refused_with_a_way_out():
    host = seen(after(1))
    host["ports"]["churn"] = 8002
    with pytest.raises(Failed) as refused:
        decide.service_plan(host, release(2), 8000, "s")
    assert str(refused.value).startswith(
        "port taken: flights wants the ports 8000 to 8002 and the service churn has 8002 to 8004"
    )
    assert 'service_ports={"churn": 8002, "flights": 8012}' in str(refused.value)


def test_a_second_rollback_goes_further_back_and_not_forth():
    state = after(1, 2, 3)
    target = decide.rollback_target(seen(state), "flights")
    assert target["id"] == release(2)["id"]
    state = after(1, 2, 3, -2)
    assert versions(each["release"] for each in state["history"]) == [2, 1]
    assert decide.rollback_target(seen(state), "flights")["id"] == release(1)["id"]
    assert decide.rollback_target(seen(state), "flights", release(3)["id"])["id"] == release(3)["id"]


def test_a_release_that_is_not_kept_is_refused_by_naming_those_that_are():
    with pytest.raises(
        Failed, match="flights-7-0123456789ab is not kept here; kept, newest first: flights-2-"
    ):
        decide.rollback_target(seen(after(1, 2)), "flights", "flights-7-0123456789ab")


def test_only_the_last_live_releases_are_kept():
    state = after(1, 2, 3, 4)
    assert versions(state["kept"]) == [4, 3, 2]
    assert versions(each["release"] for each in state["history"]) == [4, 3, 2]


@pytest.mark.parametrize(
    "megabytes, kept",
    [
        (0, [5, 4, 3, 2, 1]),
        (250, [5, 4, 3, 2, 1]),
        (240, [5, 4, 3, 2]),
        (1, [5, 4]),
    ],  # a base of 200, then 10 each
)
def test_releases_stay_while_their_layers_fit_shared_ones_counted_once(megabytes, kept):
    releases = [release(version) for version in range(1, 6)]
    for each in releases:
        base, own = {"digest": "sha256:base", "bytes": 200e6}, {"digest": each["id"], "bytes": 10e6}
        each["image"]["layers"] = [base, own]
    state = {"kept": [each["id"] for each in reversed(releases[:-1])]}
    records = {each["id"]: each for each in releases[:-1]}
    assert versions(decide.releases_after(state, records, releases[-1], 9, megabytes)) == kept


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        ({"cause": "exited at start with code 3", "msg": "more"}, "exited at start with code 3"),
        ({"msg": "write: No space left on device"}, "disk full: write: No space left on device"),
        (
            {"results": [{"skipped": True}, {"failed": True, "msg": "disk full: / has 1 MB"}]},
            "disk full: / has 1 MB",
        ),
        (
            {"stderr": "first\nbind: address already in use\n", "msg": "rc"},
            "port taken: bind: address already in use",
        ),
        ({"msg": "timed out"}, "Start the new container: timed out"),
    ],
)
def test_the_cause_is_named_in_one_sentence(result, cause):
    assert filters.likely_cause(result, "Start the new container") == cause


@pytest.mark.parametrize(
    ("batch", "pause", "words"),
    [
        ("zwei", 0, "deploy_batch = 'zwei' is not a number of hosts"),
        ([1, "0%"], 0, "deploy_batch = '0%' is not a number of hosts"),
        ([], 0, "deploy_batch = [] is not a number of hosts"),
        ("2", "a minute", "deploy_pause = 'a minute' is not a number of seconds"),
        ("25%", "60", ""),
        ([1, "100%"], 0, ""),
    ],
)
def test_a_batch_that_ansible_would_stumble_over_in_the_middle_is_refused_at_once(batch, pause, words):
    said = filters.batch_mistake(batch, pause)
    assert said.startswith(words) and bool(said) is bool(words)


@pytest.mark.parametrize(
    ("wanted", "got", "said"),
    [
        ([0.1, 2], [0.1, 2.0], None),
        ([[0.1, 0.9]], [[0.1, 0.9]], None),
        ([0.1, 0.3], [0.1, 0.30000000000000004], "row 1 (counted from 0) should give 0.3 and gives 0.30000000000000004; 1 of 2"),
        ([1], [True], "row 0 (counted from 0) should give 1 and gives true"),
        ([{"prediction": "a", "probabilities": {"a": 0.7, "b": 0.3}}], [{"probabilities": {"b": 0.3, "a": 0.7}, "prediction": "a"}], None),
        ([{"probabilities": {"a": 1}}], [{"probabilities": {"a": True}}], 'row 0 (counted from 0) should give {"probabilities": {"a": 1}}'),
        ([{"probabilities": {"a": 1}}], [{"probabilities": {"a": 1, "b": 0}}], "row 0"),
        ([[0.1]], [0.1], "row 0 (counted from 0) should give [0.1] and gives 0.1"),
        ([0.1, 0.2], [0.1], "expected 2 predictions, got 1"),
        ([0.1], None, "expected 1 predictions, got null"),
    ],
)  # fmt: skip
def test_predictions_agree_to_the_bit_or_the_first_difference_is_shown(wanted, got, said):
    difference = golden_rows.first_difference(wanted, got)
    assert difference == said or difference.startswith(said)


def test_what_may_go_is_named_by_id_for_a_name_may_be_given_again():
    here = seen(after(1, 2))
    mine = here["services"]["flights"]
    mine["containers"] = [
        {"name": "mlkit-flights-green", "id": "9f", "release": release(1)["id"]},
        {"name": "mlkit-flights-blue", "id": "8e", "release": release(2)["id"]},
    ]
    [gone] = decide.prunable(here, "flights", [release(2)["id"]])
    assert gone["id"] == release(1)["id"] and gone["containers"] == ["9f"]


NUMBER = {"name": "distance", "type": "number"}
LEVELS = {"name": "size", "type": "category", "levels": ["l", "m", "s"]}
OUTPUT = {"name": "price", "kind": "value"}


def signed(*inputs, output=OUTPUT):
    return {"signature": {"inputs": list(inputs), "output": output}}


@pytest.mark.parametrize(
    "new, words",
    [
        (signed(NUMBER, LEVELS), []),
        (signed(LEVELS, NUMBER), []),
        (signed(NUMBER, LEVELS, {"name": "new", "type": "number", "missing": True}), []),
        (signed(NUMBER, {**LEVELS, "levels": ["l", "m", "s", "xl"]}), []),
        (signed({**NUMBER, "missing": True}, LEVELS), []),
        (signed(NUMBER, {**LEVELS, "levels": ["l"], "unseen": "missing"}), []),
        ({}, []),
        (signed(NUMBER), ["input 'size' is not known any more"]),
        (
            signed(NUMBER, LEVELS, {"name": "new", "type": "number"}),
            ["input 'new' is new, and every request must have it"],
        ),
        (signed({**NUMBER, "type": "integer"}, LEVELS), ["input 'distance' was number and is integer"]),
        (signed(NUMBER, {**LEVELS, "levels": ["l", "m"]}), ["input 'size' refuses the level 's'"]),
        (
            signed({**NUMBER, "name": "Distance"}, LEVELS),
            [
                "input 'distance' is not known any more",
                "input 'Distance' is new, and every request must have it",
            ],
        ),
        (
            signed(NUMBER, LEVELS, output={"name": "price", "kind": "probability"}),
            ["the output was price (value), and is price (probability)"],
        ),
        (
            signed(
                NUMBER, LEVELS, output={"name": "price", "kind": "classes", "classes": ["low", "high", "mid"]}
            ),
            ["the output was price (value), and is price (classes: low, high, mid)"],
        ),
    ],
)
def test_what_would_break_clients_is_named(new, words):
    assert decide.breaking_changes(signed(NUMBER, LEVELS), new) == words


def test_a_column_that_may_not_be_missing_any_more_breaks_clients():
    old = signed({**NUMBER, "missing": True}, {**LEVELS, "unseen": "missing"})
    assert decide.breaking_changes(old, signed(NUMBER, LEVELS)) == [
        "input 'distance' may not be missing any more",
        "input 'size' refuses levels that it does not know",
    ]


def test_a_release_that_breaks_clients_needs_a_reason():
    here = seen(after(1))
    live = here["services"]["flights"]["releases"][release(1)["id"]]
    live |= signed(NUMBER, LEVELS)
    new = release(2) | signed(NUMBER)
    for reason in ("", " "):
        with pytest.raises(Failed) as refused:
            decide.service_plan(here, new, 8000, "s", reason)
        words = "would break the clients of flights-1-0123456789ab: input 'size' is not known any more"
        assert words in str(refused.value) and "--breaking" in str(refused.value)
    plan = decide.service_plan(here, new, 8000, "s", "nobody sends a size")
    assert plan["change"] and plan["breaks"] == ["input 'size' is not known any more"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"format": "mlkit.state/2", "port": 8000}',
            "state.json has the format mlkit.state/2, and this mlkit knows mlkit.state/1: use the mlkit that deployed there last",
        ),
        ("[]", "state.json has the format list, and this mlkit knows mlkit.state/1"),
        ("{", "state.json is not JSON"),
    ],
)
def test_a_state_that_this_mlkit_cannot_read_is_not_guessed_at(tmp_path, text, words):
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(Failed, match=words):
        service_records.state_of(str(tmp_path))


def test_in_the_shadow_classes_are_compared_by_their_names_whatever_their_order():
    compared = object.__new__(shadow.Comparison)
    compared.old, compared.new, compared.largest = [], [], 0.0
    one = {"prediction": "b", "probabilities": {"a": 0.25, "b": 0.75, "c": 0.0}}
    for other in (
        {"prediction": "b", "probabilities": {"c": 0.0, "b": 0.75, "a": 0.25}},
        {"prediction": "d", "probabilities": {"a": 0.25, "b": 0.25, "d": 0.5}},
    ):
        compared.add_parts(one, other)
    assert (compared.old, compared.new, compared.largest) == ([1, 1], [1, 3], 0.5)


def test_in_the_shadow_quantiles_are_compared_by_their_levels():
    compared = object.__new__(shadow.Comparison)
    compared.old, compared.new, compared.largest = [], [], 0.0
    one = {"prediction": 2.0, "quantiles": {"0.1": 1.0, "0.5": 2.0, "0.9": 4.0}}
    compared.add_parts(one, {"prediction": 2.5, "quantiles": {"0.1": 1.0, "0.5": 2.5, "0.9": 7.0}})
    assert (compared.old, compared.new, compared.largest) == ([2.0], [2.5], 3.0)
