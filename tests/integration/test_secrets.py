"Planted secrets: after a deployment with every kind of them, none is anywhere but where it belongs."

import json
import subprocess
import sys
from pathlib import Path

import pytest
from eventually import eventually
from fleeted import Fleeted
from laptop import Load

ROW = '{"rows":[{"distance":3,"carrier":"AA"}]}'


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    "Secrets by where they come from."
    return {
        "environment": "planted-9a31c6b2-environment",
        "vault": "planted-71ee04d8-vault",
        "vault password": "planted-c2d7f3a9-password",
    }


@pytest.fixture(scope="module")
def lab(tmp_path_factory, make_fleet, base_images, planted):
    "A guarded service: its keys come out of Ansible Vault."
    lab = Fleeted(tmp_path_factory.mktemp("lab"), make_fleet(1), base_images)
    lab.environment |= {"AWS_SECRET_ACCESS_KEY": planted["environment"]}
    secret = lab.mlkit("key", "new", "shop", "--file", str(lab.folder / "keys")).stdout.split()
    lab.key = planted["api key"] = next(word for word in secret if word.startswith("mlkit_"))
    (lab.folder / "password").write_text(planted["vault password"])
    (lab.folder / "hooks").mkdir()
    return lab


def vaulted(lab, text):
    "A text as Ansible Vault writes it."
    program = Path(sys.executable).parent / "ansible-vault"
    words = [program, "encrypt_string", "--vault-password-file", lab.folder / "password", text]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def put_keys(lab):
    "The keys file on the host, as a role of the user's would put it there: whole or not at all."
    lab.fleet.copy(lab.folder / "keys", 1, "/etc/mlkit-keys/keys.new")
    lab.fleet.ssh(1, "cd /etc/mlkit-keys && chown 10001 keys.new && chmod 400 keys.new && mv keys.new keys")


@pytest.fixture(scope="module")
def guarded(lab, planted):
    "The service is live behind keys, with a load on it."
    with open(lab.folder / "inventory.ini", "a") as inventory:
        inventory.write("\n")
    folder = lab.folder / "group_vars"
    folder.mkdir()
    (folder / "all.yml").write_text(f"their_password: {vaulted(lab, planted['vault'])}\n")
    put_keys(lab)
    lab.lab(**lab.settings, service_keys="/etc/mlkit-keys", vault_password_file="password")
    lab.mlkit("deploy", "lab", lab.release(lab.train(3)))
    return lab


def test_a_guarded_service_is_deployed_and_answers_only_who_has_a_key(guarded):
    assert guarded.ask("/predict", ROW)[0] == 401
    assert guarded.ask("/predict", ROW, key="mlkit_" + 64 * "0")[0] == 401
    assert guarded.ask("/predict", ROW, key=guarded.key)[0] == 200
    assert guarded.ask("/metrics", key=guarded.key)[0] == 403


def test_a_key_is_rotated_without_a_restart_and_without_a_failed_request(guarded, planted):
    before = guarded.fleet.ssh(1, "docker ps --quiet --no-trunc")
    with Load(guarded.address, 8300, key=guarded.key) as load:
        words = guarded.mlkit("key", "new", "shop", "--file", str(guarded.folder / "keys")).stdout.split()
        new = planted["new api key"] = next(word for word in words if word.startswith("mlkit_"))
        put_keys(guarded)
        eventually(lambda: guarded.ask("/predict", ROW, key=new)[0] == 200)
    assert not load.failures
    lines = (guarded.folder / "keys").read_text().splitlines(keepends=True)
    (guarded.folder / "keys").write_text(lines[-1])
    put_keys(guarded)
    eventually(lambda: guarded.ask("/predict", ROW, key=guarded.key)[0] == 401)
    assert guarded.ask("/predict", ROW, key=new)[0] == 200
    assert guarded.fleet.ssh(1, "docker ps --quiet --no-trunc") == before


def everywhere(guarded):
    "Name → bytes of all that a deployment leaves behind."
    for path in [*guarded.folder.glob("store/**/*"), *guarded.folder.glob(".mlkit/**/*")]:
        if path.is_file():
            yield str(path), path.read_bytes()
    for path in Path("/tmp").glob("mlkit-ansible-*/**/*"):
        if path.is_file():
            yield str(path), path.read_bytes()
    on_host = {
        "records and logs of the service": "find /var/lib/mlkit -type f ! -name probe.key | xargs cat",
        "process list": "ps axeww -o args",
        "containers": "docker inspect $(docker ps -aq)",
        "their logs": "docker ps -aq | xargs -n1 docker logs 2>&1",
        "log of the proxy and the system": "cat /var/log/* 2>/dev/null || true",
        "configuration of the proxy": "cat /etc/haproxy/haproxy.cfg",
        "what Ansible left": "find /root/.ansible /tmp -type f | xargs -r cat",
        "the image's history": "docker image ls -q | xargs -n1 docker history --no-trunc",
    }
    for name, command in on_host.items():
        yield name, guarded.fleet.ssh(1, command).encode()


def test_no_secret_is_where_it_does_not_belong(guarded, planted):
    done = guarded.mlkit("deploy", "lab", guarded.release(guarded.train(5)), "--json")
    probe = guarded.fleet.ssh(1, "cat /var/lib/mlkit/flights/probe.key")
    assert guarded.ask("/metrics", key=probe)[0] == 200
    places = {"output": (done.stdout + done.stderr).encode(), **dict(everywhere(guarded))}
    assert len(places) > 20 and any("image.tar" in name for name in places)
    found = [
        f"{secret} in {place}"
        for place, content in places.items()
        for secret, value in {**planted, "key of the deployment": probe}.items()
        if value.encode() in content
    ]
    assert found == []
    assert guarded.fleet.ssh(1, "stat -c %a /var/lib/mlkit/flights/probe.key") == "400"


def test_an_executed_notebook_keeps_no_secret_that_it_printed(guarded, planted):
    code = f'import os; print(os.environ["AWS_SECRET_ACCESS_KEY"]); token = "{planted["environment"]}"; token'
    cells = [
        {
            "cell_type": "code",
            "id": "a",
            "source": code,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
    ]
    notebook = {"cells": cells, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}}, "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
    path = guarded.folder / "leaky.ipynb"
    path.write_text(json.dumps(notebook).replace(f'token = \\"{planted["environment"]}\\"; token', "None"))
    guarded.mlkit("run", str(path))
    executed = list(guarded.folder.glob("store/runs/*/*"))
    assert executed and not [
        file for file in executed if planted["environment"].encode() in file.read_bytes()
    ]
