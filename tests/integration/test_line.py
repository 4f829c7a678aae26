"The whole line: a model becomes a release, the release goes to a host over ssh, the host answers, and bad ones never do."

import http.client
import json
import re
import shutil

import pytest
from laptop import Laptop, Load


class Fleeted(Laptop):
    "A laptop whose project has an environment, `lab`: the first host of the fleet."

    def __init__(self, folder, fleet, environment):
        super().__init__(folder)
        self.address = fleet.address(1)
        lines = fleet.inventory.read_text().splitlines()
        inventory = folder / "inventory.ini"
        inventory.write_text("\n".join(line for line in lines if not line.startswith(("h2 ", "h3 "))))
        with open(folder / "settings.ini", "a") as settings:
            settings.write(
                "[environment lab]\ninventory = inventory.ini\nservice_port = 8300\nproxy_drain_seconds = 2\n"
            )
        self.environment = environment

    def mlkit(self, *words, check=True):
        return super().mlkit(*words, check=check, **self.environment)

    def release(self, model):
        "Register a model and build its release; give the release folder."
        self.mlkit("register", model)
        return (
            self.folder / ".mlkit/releases" / json.loads(self.mlkit("release", model, "--json").stdout)["id"]
        )

    def live(self):
        connection = http.client.HTTPConnection(self.address, 8300, timeout=10)
        connection.request("GET", "/readyz")
        return json.loads(connection.getresponse().read())


@pytest.fixture(scope="module")
def lab(tmp_path_factory, engine, base_images, fleet):
    images = [argument for argument in base_images if "=" in argument]
    environment = {f"MLKIT_{name}": value for name, value in (argument.split("=", 1) for argument in images)}
    lab = Fleeted(tmp_path_factory.mktemp("lab"), fleet, environment)
    lab.first, lab.second = lab.train(3), lab.train(5)
    lab.release_1, lab.release_2 = lab.release(lab.first), lab.release(lab.second)
    lab.mlkit("deploy", "lab", lab.release_1.name)
    return lab


def test_the_host_answers_with_the_very_model(lab):
    assert lab.live()["model"]["digest"] == lab.first
    assert lab.live()["release"] == lab.release_1.name
    said = lab.mlkit("status", "lab").stdout
    assert re.search(rf"{lab.release_1.name} +{lab.first.removeprefix('sha256:')[:12]} +ready", said), said


def test_the_host_remembers_what_it_answered(lab, fleet):
    with Load(lab.address, 8300) as load:
        pass
    records = fleet.ssh(1, "cat /var/lib/mlkit/flights/predictions/*").splitlines()
    kept = [record for record in map(json.loads, records) if "AA" in str(record["rows"])]
    assert len(kept) >= len(load.models) and {record["model"] for record in kept} == {lab.first}


def test_the_same_release_is_built_from_the_same_model(lab):
    assert lab.release(lab.first) == lab.release_1


def test_a_new_release_and_back_without_a_failed_request(lab):
    with Load(lab.address, 8300) as load:
        lab.mlkit("deploy", "lab", lab.release_2.name)
        assert lab.live()["model"]["digest"] == lab.second
        lab.mlkit("rollback", "lab")
    assert lab.live()["model"]["digest"] == lab.first
    assert not load.failures and set(load.models) == {lab.first, lab.second}


def test_a_broken_release_never_gets_traffic(lab):
    broken = lab.folder / "broken"
    shutil.copytree(lab.release_2, broken)
    golden = json.loads((broken / "golden.json").read_text())
    golden["predictions"][7] += 1e-12
    (broken / "golden.json").write_text(json.dumps(golden))
    with Load(lab.address, 8300) as load:
        done = lab.mlkit("deploy", "lab", str(broken), check=False)
    assert done.returncode == 3
    assert "deploy to lab failed" in done.stderr and "row 7 (counted from 0) should give" in done.stderr
    assert f"still serving: {lab.release_1.name}" in done.stderr
    assert not load.failures and set(load.models) == {lab.first}


def test_an_environment_that_does_not_exist_says_which_do(lab):
    done = lab.mlkit("deploy", "labb", check=False)
    assert done.returncode == 2 and "did you mean: lab?" in done.stderr


def test_a_host_that_cannot_be_reached_is_named(lab, fleet):
    fleet("kill", 1)
    try:
        done = lab.mlkit("deploy", "lab", lab.release_2.name, check=False)
    finally:
        fleet.restore()
    assert done.returncode == 3 and "cannot be reached: h1" in done.stderr


def test_the_engine_runs_a_release_on_this_machine(lab, engine):
    lab.mlkit("deploy", "local", lab.first, "--engine", engine)
    try:
        assert lab.model() == lab.first
        lab.mlkit("deploy", "local", lab.second, "--engine", engine)
        assert lab.model() == lab.second
    finally:
        lab.mlkit("stop", "local")


HOOK = """#!/bin/sh
echo "$MLKIT_HOOK $MLKIT_ENVIRONMENT $MLKIT_SERVICE $MLKIT_RELEASE $MLKIT_HOSTS ${MLKIT_OUTCOME:-before}" >> hooks.log
test ! -e fail-$MLKIT_HOOK || { echo "the calendar says no"; exit 9; }
"""


@pytest.fixture
def hooks(lab):
    "The lines that hooks wrote, with a hook for every moment of a deployment and a rollback."
    folder, log = lab.folder / "hooks", lab.folder / "hooks.log"
    folder.mkdir()
    for name in ("pre-deploy", "pre-switch", "post-switch", "post-deploy", "pre-rollback", "post-rollback"):
        hook = folder / name
        hook.write_text(HOOK.replace("hooks.log", str(log)).replace("fail-", f"{lab.folder}/fail-"))
        hook.chmod(0o755)
    yield lambda: log.read_text().splitlines()
    shutil.rmtree(folder)
    log.unlink(missing_ok=True)
    for path in lab.folder.glob("fail-*"):
        path.unlink()


def test_hooks_are_told_what_goes_live_where(lab, hooks):
    lab.mlkit("deploy", "lab", lab.release_2.name)
    new = lab.release_2.name
    assert hooks() == [
        f"pre-deploy lab flights {new} h1 before",
        f"pre-switch lab flights {new} h1 before",
        f"post-switch lab flights {new} h1 done",
        f"post-deploy lab flights {new} h1 done",
    ]
    lab.mlkit("rollback", "lab")
    assert [line.split()[0] for line in hooks()[4:]] == [
        "pre-rollback",
        "pre-switch",
        "post-switch",
        "post-rollback",
    ]


@pytest.mark.parametrize("name", ["pre-deploy", "pre-switch"])
def test_a_hook_that_fails_before_the_switch_stops_it(lab, hooks, name):
    (lab.folder / f"fail-{name}").touch()
    done = lab.mlkit("deploy", "lab", lab.release_2.name, check=False)
    assert done.returncode != 0 and "the calendar says no" in done.stderr, done.stderr
    assert lab.live()["model"]["digest"] == lab.first


def test_a_hook_that_fails_after_the_switch_undoes_nothing(lab, hooks):
    (lab.folder / "fail-post-switch").touch()
    done = lab.mlkit("deploy", "lab", lab.release_2.name, check=False)
    assert done.returncode != 0 and "the calendar says no" in done.stderr, done.stderr
    assert lab.live()["model"]["digest"] == lab.second
    (lab.folder / "fail-post-switch").unlink()
    lab.mlkit("rollback", "lab")


def test_a_deployment_is_told_as_json_to_its_last_line(lab):
    done = lab.mlkit("deploy", "lab", lab.release_1.name, "--json")
    steps = list(map(json.loads, done.stdout.splitlines()))
    assert {step["format"] for step in steps[:-1]} == {"mlkit.step/1"}
    assert steps[-1]["format"] == "mlkit.deployed/1" and steps[-1]["outcome"] == "done"
    assert steps[-1]["release"] == lab.release_1.name


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["deploy", "lba"], 2, "did you mean: lab"),
        (["deploy", "lab", "flights-9-0123456789ab"], 2, "there is no release 'flights-9-0123456789ab'"),
        (
            ["deploy", "wrong", "RELEASE"],
            2,
            "[environment wrong] service_pids = 'many' is not a whole number",
        ),
        (["deploy", "empty", "RELEASE"], 2, "has no host in its group hosts"),
        (["deploy", "nowhere", "RELEASE"], 2, "has no inventory"),
        (["deploy", "stranger", "RELEASE"], 3, "compare it with the host's own"),
        (["deploy", "keyless", "RELEASE"], 3, "the host refuses the ssh key"),
    ],
)
def test_a_mistake_of_ops_is_said_in_words(lab, words, code, said):
    settings = lab.folder / "settings.ini"
    before = settings.read_text()
    (lab.folder / "empty.ini").write_text("[hosts]\n")
    (lab.folder / "no_hosts_known").touch()
    (lab.folder / "no_key").touch()
    inventory = (lab.folder / "inventory.ini").read_text()
    fresh = inventory.replace("StrictHostKeyChecking=yes", "StrictHostKeyChecking=yes -o ControlPath=none")
    (lab.folder / "stranger.ini").write_text(
        re.sub(r"=\"\S+/known_hosts", f'="{lab.folder}/no_hosts_known', fresh)
    )
    (lab.folder / "keyless.ini").write_text(
        re.sub(r"(ansible_ssh_private_key_file=)\S+", rf"\1{lab.folder}/no_key", fresh)
    )
    for name, file in [
        ("empty", "empty.ini"),
        ("nowhere", "none.ini"),
        ("stranger", "stranger.ini"),
        ("keyless", "keyless.ini"),
    ]:
        with open(settings, "a") as lines:
            lines.write(f"\n[environment {name}]\ninventory = {file}\n")
    with open(settings, "a") as lines:
        lines.write("\n[environment wrong]\ninventory = inventory.ini\nservice_pids = many\n")
    try:
        done = lab.mlkit(*[lab.release_1.name if word == "RELEASE" else word for word in words], check=False)
    finally:
        settings.write_text(before)
    assert done.returncode == code and said in done.stderr, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
