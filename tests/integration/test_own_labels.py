"Whose labels count: a key for its own labels judges what its name asked for, whichever worker answered, also before a restart."

import json

import pytest
from live_server import LiveServer, request, save_model

from mlkit.model.bundle import BUNDLE, model_key, open_folder
from mlkit.monitoring.compaction import compact
from mlkit.monitoring.predictions import labeled_predictions
from mlkit.serve.auth.keys import add_key, make_key
from mlkit.store import Store

SCOPES = {
    "shop": ("predict", "labels:own"),
    "bank": ("predict", "labels:own"),
    "office": ("labels",),
}


@pytest.fixture
def keys(tmp_path):
    "The key of each name."
    made = {name: make_key(name, scopes) for name, scopes in SCOPES.items()}
    for _, line in made.values():
        add_key(tmp_path / "keys", line)
    return {name: secret for name, (secret, _) in made.items()}


@pytest.fixture
def model(tmp_path):
    "A folder to serve from; the store knows the model too."
    folder = save_model(tmp_path / "model")
    digest = open_folder(folder).digest
    Store(str(tmp_path / "store")).put(f"{model_key(digest)}/{BUNDLE}", (folder / BUNDLE).read_bytes())
    return folder


def test_a_key_for_its_own_labels_judges_nothing_that_another_asked_for(tmp_path, keys, model):
    def start():
        log = tmp_path / "predictions"
        return LiveServer(model, tmp_path, MLKIT_KEYS=tmp_path / "keys", MLKIT_PREDICTIONS=log)

    def ask(server, name, path="/predict", **body):
        sent = {"body": json.dumps(body).encode()} if body else {}
        answer = server.send(
            request(**sent, path=path, Authorization=f"Bearer {keys[name]}", Connection="close")
        )
        assert answer.startswith(b"HTTP/1.1 200"), answer
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    def tell(server, name, label):
        labels = [{"id": id, "label": label} for id in (*shops, *banks)]
        assert ask(server, name, "/labels", labels=labels)["taken"] == 20

    server = start()
    server.both_workers()
    try:
        shops, banks = ([ask(server, name)["id"] for _ in range(10)] for name in ("shop", "bank"))
        tell(server, "bank", 1)
    finally:
        server.stop()
    server = start()
    try:
        tell(server, "office", 0)
        tell(server, "shop", 1)  # of the bank's too, and the last
    finally:
        server.stop()
    store = Store(str(tmp_path / "store"))
    done = compact(store, tmp_path / "predictions", "flights")
    assert (done.predictions, done.labels, done.unmatched, done.foreign) == (20, 60, 0, 20)
    frame = labeled_predictions(store, open_folder(model).name).set_index("id")
    assert frame.asked_by.to_dict() == dict.fromkeys(shops, "shop") | dict.fromkeys(banks, "bank")
    assert frame.label.to_dict() == dict.fromkeys(shops, 1) | dict.fromkeys(banks, 0)
