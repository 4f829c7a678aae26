"The registry when people are fast, disks are bad and stores vanish: in a folder and in a bucket of a real S3 server."

import json
import subprocess
import sys

import nbformat
import pytest
import s3fs
from eventually import eventually
from laptop import MLKIT, Laptop
from racers import promote_own, race

from mlkit.errors import CorruptRecord, NewerFormat
from mlkit.model.bundle import model_key
from mlkit.records import canonical, digest
from mlkit.registry import find_model, load_model, promote, read_history, read_registry, register
from mlkit.store import Store

TURNS = 200


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    "A laptop with two models that passed."
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    laptop.models = laptop.train(3), laptop.train(5)
    return laptop


@pytest.fixture
def laptop(trained, address, tmp_path, monkeypatch):
    "A laptop of its own, on the store at `address`; both models are registered there as flights@1 and flights@2."
    s3fs.S3FileSystem.clear_instance_cache()
    source, laptop = Store(str(trained.folder / "store")), Laptop(tmp_path)
    laptop.store = Store(address)
    for key in source.keys(""):
        laptop.store.put(key, source.get(key))
    monkeypatch.setenv("MLKIT_STORE", address)
    for model in trained.models:
        register(laptop.store, "flights", model)
    return laptop


def test_two_hundred_racing_promotions_have_one_winner_each(laptop):
    told = 0
    for outcomes in race(promote_own, laptop.store.url, racers=2, turns=TURNS):
        winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
        losers = [outcome for outcome in outcomes if outcome not in winners]
        assert len(winners) in (1, 2), outcomes  # two: one came after the other and saw its record
        assert all("somebody else changed the registry of flights" in loser for loser in losers)
        told += len(losers)
    changes, broken = read_history(laptop.store, "flights")
    assert not broken and [c.number for c in changes] == list(range(1, 2 + 2 * TURNS - told + 1))
    registry = read_registry(laptop.store, "flights")
    for turn in range(TURNS):
        made = [c.change for c in changes if c.change.endswith(f" to turn_{turn}")]
        assert made[-1] == f"promote {registry.aliases[f'turn_{turn}']} to turn_{turn}"
    assert len(registry.versions) == 2
    print(f"{TURNS} races: {told} losers were told at once, {TURNS - told} came after")
    assert told > TURNS / 4, "these were no races"


def test_a_person_sees_who_moved_what_and_when(laptop):
    laptop.mlkit("promote", "flights@1", "--to", "champion")
    laptop.mlkit("promote", "flights@2", "--to", "champion")
    assert laptop.mlkit("demote", "flights", "champion").stdout == "flights@2 is no longer champion\n"
    laptop.mlkit("promote", "flights@1", "--to", "challenger")
    first, second = laptop.mlkit("models").stdout.splitlines()
    assert first.startswith("flights@1  sha256:") and " passed  challenger" in first
    assert second.startswith("flights@2  sha256:") and second.endswith(" passed")
    lines = laptop.mlkit("models", "--history", "flights").stdout.splitlines()
    assert [line.split("  ")[-1] for line in lines] == [
        "register 1",
        "register 2",
        "promote 1 to champion",
        "promote 2 to champion",
        "demote 2 from champion",
        "promote 1 to challenger",
    ]
    listed = json.loads(laptop.mlkit("models", "--history", "flights", "--json").stdout)
    assert all("@" in change["who"] and change["changed"].endswith("Z") for change in listed)
    done = laptop.mlkit("demote", "flights", "champion", check=False)
    assert done.returncode == 2 and "known: challenger" in done.stderr


def test_a_broken_record_is_named_and_the_rest_still_works(laptop, trained):
    store = laptop.store
    for name in ("taxis", "trains"):
        register(store, name, trained.models[0])
    store.put("registry/taxis/000002.json", store.get("registry/taxis/000001.json")[:40])
    newer = store.get("registry/trains/000001.json").replace(b"mlkit.registry/1", b"mlkit.registry/2")
    store.put("registry/trains/000002.json", newer)
    store.put("verdicts/0/verdict.json", b"\0" * 100)
    done = laptop.mlkit("models", check=False)
    assert done.returncode == 3
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["flights@1", "flights@2"]
    assert "registry/taxis/000002.json is not a registry record" in done.stderr
    assert "registry/trains/000002.json has the format mlkit.registry/2; this mlkit reads" in done.stderr
    laptop.mlkit("promote", "flights@2", "--to", "champion")
    for name, words in {"taxis": "is not a registry record", "trains": "has the format"}.items():
        done = laptop.mlkit("promote", f"{name}@1", "--to", "champion", check=False)
        assert done.returncode == 3 and f"registry/{name}/000002.json {words}" in done.stderr
        assert len(store.keys(f"registry/{name}")) == 2


def test_a_broken_verdict_is_named_where_it_counts(laptop):
    verdict = read_registry(laptop.store, "flights").versions[0]["verdict"]
    laptop.store.put(f"verdicts/{verdict}/verdict.json", b"{}")
    done = laptop.mlkit("models", check=False)
    assert done.returncode == 3 and f"verdict {verdict} unreadable" in done.stdout
    assert f"verdicts/{verdict}/verdict.json is not a verdict record" in done.stderr
    refused = laptop.mlkit("promote", "flights@1", "--to", "champion", check=False)
    assert refused.returncode == 1 and f"unreadable: verdicts/{verdict}/verdict.json" in refused.stderr
    laptop.mlkit("promote", "flights@2", "--to", "champion")


def test_a_bundle_with_one_changed_byte_is_refused(laptop, trained):
    store, folder = laptop.store, model_key(trained.models[0])
    assert load_model(store, find_model(store, "flights@1", "flights")).digest == trained.models[0]
    keys = store.keys(folder)
    assert {key.rsplit("/")[-1] for key in keys} >= {"bundle.json", "golden.json", "model.txt"}
    for key in keys:
        content = store.get(key)
        for at in range(0, len(content), len(content) // 7 + 1):
            store.put(key, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises(CorruptRecord, match=folder):
                load_model(store, trained.models[0])
        store.put(key, content)
    assert load_model(store, trained.models[0])


def test_a_bundle_of_another_name_or_a_newer_format_is_refused(laptop, trained):
    store, (first, second) = laptop.store, trained.models
    for key in store.keys(model_key(second)):
        store.put(key.replace(model_key(second), model_key(first)), store.get(key))
    with pytest.raises(CorruptRecord, match=f"{model_key(first)} is not the model {first}"):
        load_model(store, first)
    head = json.loads(store.get(f"{model_key(second)}/bundle.json"))
    fields = {key: value for key, value in head.items() if key not in ("checksum", "format")}
    fields |= {"checksum": digest(canonical(fields)), "format": "mlkit.bundle/2"}
    store.put(f"{model_key(second)}/bundle.json", canonical(fields))
    with pytest.raises(NewerFormat, match="bundle.json has the format mlkit.bundle/2; this mlkit reads"):
        load_model(store, second)


PROMOTE_FOR_EVER = """
import itertools, sys
from mlkit.errors import MlkitError
from mlkit.registry import promote
from mlkit.store import Store
store = Store(sys.argv[1])
for turn in itertools.count():
    try:
        promote(store, "flights", str(turn % 2 + 1), "champion")
    except MlkitError as error:
        print(type(error).__name__, turn, error, flush=True)
        break
    print(turn, flush=True)
"""


@pytest.mark.parametrize("address", ["s3"], indirect=True)
def test_a_store_that_vanishes_in_the_middle_of_a_promotion(laptop, s3):
    busy = subprocess.Popen(
        [sys.executable, "-c", PROMOTE_FOR_EVER, laptop.store.url], stdout=subprocess.PIPE, text=True
    )
    try:
        for _ in range(20):
            busy.stdout.readline()
        s3.kill()
        *_, last = busy.communicate(timeout=30)[0].split("StoreUnreachable")
    finally:
        busy.kill()
        s3.start()
    turn, words = last.split(maxsplit=1)
    assert words.startswith("cannot ") and f"in the store {laptop.store.url}: Could not connect" in words
    changes, broken = read_history(laptop.store, "flights")
    assert not broken and [c.number for c in changes] == list(range(1, len(changes) + 1))
    assert len(changes) - 2 - int(turn) in (0, 1)  # 1: written, but the answer was lost
    promote(laptop.store, "flights", "1", "challenger")


WAITING = """
import time
from pathlib import Path
from mlkit.runs.current import current_run
run = current_run()
Path("reached").touch()
while not Path("go").exists():
    time.sleep(0.05)
"""


@pytest.mark.parametrize("address", ["s3"], indirect=True)
def test_a_store_that_vanishes_in_the_middle_of_a_run(laptop, s3):
    rows_before = laptop.store.get("data/rows/rows.parquet")
    cells = [WAITING, "import pandas as pd", 'run.write("rows", pd.DataFrame({"a": [1, 2]}))']
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, laptop.folder / "slow.ipynb")
    running = subprocess.Popen(
        [*MLKIT, "run", "slow.ipynb"],
        cwd=laptop.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: (laptop.folder / "reached").exists())
        s3.kill()
        (laptop.folder / "go").touch()
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        s3.start()
    assert running.returncode == 3 and f"in the store {laptop.store.url}: Could not connect" in said
    assert "Traceback" not in said
    records = [key for key in laptop.store.keys("runs") if key.endswith("/run.json")]
    (unfinished,) = [key for key in records if "-scratch" not in key]  # the models were trained by hand
    assert json.loads(laptop.store.get(unfinished))["outcome"] == "running"
    assert laptop.store.get("data/rows/rows.parquet") == rows_before
