"Planted secrets: after a deployment with every kind of them, none is anywhere but where it belongs."

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from eventually import eventually
from fleeted import Fleeted
from laptop import Load

ROW = '{"rows":[{"distance":3,"carrier":"AA"}]}'


@pytest.fixture(scope="module")
def planted():
    "Secrets by where they come from."
    return {
        "environment": "planted-9a31c6b2-environment",
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
    return lab


def vault(lab):
    "Close the keys file with Ansible Vault, beside the open one that `mlkit key new` writes."
    program = Path(sys.executable).parent / "ansible-vault"
    words = ["encrypt", "--vault-password-file", lab.folder / "password", "--output", lab.folder / "closed"]
    subprocess.run([program, *words, lab.folder / "keys"], capture_output=True, check=True)


@pytest.fixture(scope="module")
def guarded(lab, planted):
    "The service is live behind keys."
    vault(lab)
    lab.lab(**lab.settings, service_keys_file="closed", vault_password_file="password")
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
        vault(guarded)
        guarded.mlkit("key", "send", "lab")
        eventually(lambda: guarded.ask("/predict", ROW, key=new)[0] == 200)
    assert not load.failures
    lines = (guarded.folder / "keys").read_text().splitlines(keepends=True)
    (guarded.folder / "keys").write_text(lines[-1])
    vault(guarded)
    guarded.mlkit("key", "send", "lab")
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


def test_a_notebook_that_prints_a_secret_fails_and_what_is_kept_of_it_is_redacted(guarded, planted):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        'import os\nprint(os.environ["AWS_SECRET_ACCESS_KEY"])'
    )])  # fmt: skip
    path = guarded.folder / "leaky.ipynb"
    nbformat.write(notebook, path)
    done = guarded.mlkit("run", str(path), check=False)
    assert done.returncode and "the notebook shows the secret AWS_SECRET_ACCESS_KEY" in done.stderr
    kept = [file for file in guarded.folder.glob("store/runs/*/*") if file.is_file()]
    assert kept and not [file for file in kept if planted["environment"].encode() in file.read_bytes()]
