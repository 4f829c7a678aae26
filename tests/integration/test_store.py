"One store, two places: what holds in a folder holds in a bucket of a real S3 server."

import socket
import time
from contextlib import contextmanager

import pytest
import s3fs
from laptop import free_port
from racers import put_large, put_new, race

import mlkit.store
from mlkit.errors import AlreadyThere, BadSettings, MissingData, StoreUnreachable
from mlkit.store import Store


@pytest.fixture(autouse=True)
def fresh_clients():
    "s3fs keeps a client for each address; a test that changes the variables needs a new one."
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@contextmanager
def refused(words, within):
    began = time.monotonic()
    with pytest.raises(StoreUnreachable) as error:
        yield
    assert words in str(error.value), str(error.value)
    assert time.monotonic() - began < within
    assert error.value.hint


def test_keys_folders_and_contents(address):
    store = Store(address)
    assert store.keys("runs") == [] and store.folders("runs") == [] and not store.has("runs/a/run.json")
    for key in ("runs/b/run.json", "runs/a/run.json", "runs/a/deep/er", "runs/note", "runsmore/c"):
        store.put(key, key.encode())
    assert store.keys("runs") == ["runs/a/deep/er", "runs/a/run.json", "runs/b/run.json", "runs/note"]
    assert store.keys("runs/a/run.json") == ["runs/a/run.json"]
    assert store.folders("runs") == ["a", "b"]
    assert store.has("runs/note") and not store.has("runs/a") and not store.has("runs/no")
    assert store.get("runs/a/deep/er") == b"runs/a/deep/er"
    with pytest.raises(MissingData, match="has no runs/no"):
        store.get("runs/no")


def test_a_key_is_replaced_unless_it_must_be_new(address):
    store = Store(address)
    store.put("a", b"1")
    store.put("a", b"2")
    with pytest.raises(AlreadyThere, match="a is already in the store"):
        store.put("a", b"3", new=True)
    assert store.get("a") == b"2"


def test_a_large_content_is_read_in_pieces(address):
    store = Store(address)
    content = bytes(range(256)) * (60 * 4096)  # 60 MiB: more than one request
    store.put("data/a", content)
    with store.open("data/a") as file:
        assert file.read(3) == content[:3] and file.seek(-2, 2) == len(content) - 2
        assert file.read() == content[-2:] and file.seek(0) == 0 and file.read() == content
    assert store.get("data/a") == content
    with pytest.raises(MissingData):
        store.open("data/b")


def test_a_reader_sees_what_another_wrote(address):
    reader = Store(address)
    s3fs.S3FileSystem.clear_instance_cache()  # the other one is another process, with a client of its own
    writer = Store(address)
    for number in range(3):
        assert len(reader.keys("runs")) == len(reader.folders("runs")) == number
        writer.put(f"runs/{number}/run.json", b"{}")
        assert reader.has(f"runs/{number}/run.json")


def test_of_many_writers_of_one_new_key_one_wins(address):
    store = Store(address)
    for turn, outcomes in enumerate(race(put_new, address, racers=3, turns=25)):
        winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert len(winners) == 1, outcomes
        assert store.get(f"runs/{turn}") == f"written by {winners[0]}".encode()
        assert sum(f"runs/{turn} is already in the store" in str(o) for o in outcomes) == 2
    assert len(store.keys("runs")) == 25


def test_of_two_writers_of_one_new_large_key_one_wins(address):
    for turn, outcomes in enumerate(race(put_large, address, racers=2, turns=1)):
        (winner,) = [outcome for outcome in outcomes if isinstance(outcome, int)]
        assert set(Store(address).get(f"data/{turn}")) == {winner}


@pytest.mark.parametrize(
    "variables, bucket, words",
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "mlkit", "the server refuses our credentials: "),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "mlkit", "the server refuses our credentials: "),
        ({}, "mlkti", "there is no such bucket"),
        ({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}, "mlkit", "Could not connect"),
        ({"AWS_ENDPOINT_URL": "http://store.invalid"}, "mlkit", "Could not connect"),
        ({"AWS_ENDPOINT_URL": "localhost"}, "mlkit", "Invalid endpoint: localhost"),
    ],
)
def test_every_act_says_why_the_server_cannot_be_used(s3, monkeypatch, variables, bucket, words):
    for name, value in (s3.environment | variables).items():
        monkeypatch.setenv(name, value)
    store = Store(f"s3://{bucket}/somewhere")
    for act, verb in {
        lambda: store.get("a/b"): "read",
        lambda: store.has("a/b"): "read",
        lambda: store.open("a/b"): "read",
        lambda: store.keys("a/b"): "list",
        lambda: store.folders("a/b"): "list",
        lambda: store.put("a/b", b""): "write",
        lambda: store.put("a/b", b"", new=True): "write",
    }.items():
        with refused(f"cannot {verb} a/b in the store s3://{bucket}/somewhere: {words}", within=10):
            act()


def test_without_credentials_it_says_which_variables(s3, monkeypatch, tmp_path):
    for name, value in (
        s3.environment | {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with refused("no credentials\n  set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", within=10):
        Store("s3://mlkit/somewhere").get("a")


def test_a_silent_server_is_waited_for_but_not_for_ever(s3, monkeypatch):
    monkeypatch.setitem(mlkit.store._S3["config_kwargs"], "read_timeout", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for name, value in (s3.environment | {"AWS_ENDPOINT_URL": address}).items():
            monkeypatch.setenv(name, value)
        with refused("Read timeout", within=10):
            Store("s3://mlkit/somewhere").get("a")


def test_a_server_killed_while_a_large_content_is_read(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    store = Store(s3.url("killed"))
    store.put("data/a", bytes(2**20) * 120)
    with store.open("data/a") as file:
        file.read(10)
        s3.kill()
        try:
            with refused("cannot read data/a in the store s3://mlkit/killed", within=20):
                file.read()
            with refused("cannot write data/b in the store s3://mlkit/killed", within=20):
                store.put("data/b", b"1")
        finally:
            s3.start()
    assert store.keys("data") == ["data/a"]


def test_an_address_of_nothing_is_refused():
    with pytest.raises(BadSettings, match="Protocol not known"):
        Store("nothing://a")
