"A release: the same bytes from every builder, taken by a host only from whom it trusts, and fetched from a registry where there is one."

import json
import shutil
import subprocess
import tarfile
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import run
from eventually import eventually
from laptop import Laptop, free_port

PORT = 8300


@pytest.fixture(scope="module")
def laptop(tmp_path_factory, fleet, base_images):
    "A project with two registered models, and the fleet's first host as its environment `lab`."
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    lines = fleet.inventory.read_text().splitlines()
    inventory = laptop.folder / "inventory.ini"
    inventory.write_text("\n".join(line for line in lines if not line.startswith(("h2 ", "h3 "))))
    with open(laptop.folder / "settings.ini", "a") as settings:
        settings.write(f"[environment lab]\ninventory = inventory.ini\nservice_port = {PORT}\n")
    laptop.environment = dict(
        f"MLKIT_{argument}".split("=", 1) for argument in base_images if "=" in argument
    )
    laptop.model_1 = laptop.train(3)
    laptop.mlkit("register", laptop.model_1)
    return laptop


def make(laptop, *words):
    "The folder of a release of the model."
    done = laptop.mlkit("release", laptop.model_1, "--json", *words, **laptop.environment)
    return laptop.folder / ".mlkit/releases" / json.loads(done.stdout)["id"]


@pytest.fixture(scope="module")
def release(laptop):
    return make(laptop)


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_another_builder_in_another_folder_gives_the_same_bytes(laptop, release, builder, tmp_path):
    if builder != "docker":
        for image in ("mlkit-base:bookworm", "mlkit-build:bookworm"):
            run("bash", "-o", "pipefail", "-c", f"docker save {image} | podman load -q")
    other = Laptop(tmp_path).with_models_of(laptop)
    other.model_1, other.environment = laptop.model_1, laptop.environment
    made = make(other, "--engine", builder)
    names = sorted(path.name for path in release.iterdir())
    assert sorted(path.name for path in made.iterdir()) == names
    assert [name for name in names if (made / name).read_bytes() != (release / name).read_bytes()] == []


def test_two_who_build_releases_of_one_name_at_a_time_get_their_own_models(laptop, base_images, tmp_path):
    def made_by(number):
        other = Laptop(tmp_path / str(number))
        other.environment, other.model_1 = laptop.environment, other.train(3 + number)
        other.mlkit("register", other.model_1, **other.environment)
        return other.model_1, make(other)

    for number in range(4):
        (tmp_path / str(number)).mkdir()
    with ThreadPoolExecutor() as pool:
        for model, folder in pool.map(made_by, range(4)):
            with tarfile.open(folder / "image.tar") as image:
                last = json.load(image.extractfile("manifest.json"))[0]["Layers"][-1]
                with tarfile.open(fileobj=image.extractfile(last)) as layer:
                    assert f'"{model}"' in layer.extractfile("model/bundle.json").read().decode()


def test_the_image_is_small_and_the_model_its_last_layer(release):
    image = json.loads((release / "release.json").read_text())["image"]
    sizes = [layer["bytes"] for layer in image["layers"]]
    assert sum(sizes) <= 185e6 and sizes[-1] < 100e3


def key(folder, name):
    "A signing key, and its line among the signers."
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True
    )
    return f'{name} namespaces="mlkit-release" {(folder / f"{name}.pub").read_text()}'


@pytest.fixture
def signing(laptop):
    "The project asks for signatures while this lasts: the line of ann, who signs, and of bob."
    settings = laptop.folder / "settings.ini"
    before = settings.read_text()
    lines = key(laptop.folder, "ann"), key(laptop.folder, "bob")
    (laptop.folder / "signers").write_text(lines[0])
    settings.write_text(before + "[release]\nsigners = signers\nkey = ann\n")
    yield lines
    settings.write_text(before)


def test_a_host_takes_only_what_its_signers_signed(laptop, release, signing, fleet, tmp_path):
    unsigned = shutil.copytree(release, tmp_path / "unsigned")
    signed = make(laptop)

    def deploy(folder):
        done = laptop.mlkit("deploy", "lab", str(folder), check=False, **laptop.environment)
        return done.returncode, done.stderr

    code, said = deploy(unsigned)
    assert code == 3 and "the release is not signed" in said and "nothing was changed" in said

    assert deploy(signed)[0] == 0
    entry = json.loads(fleet.ssh(1, "tail -n 1 /var/lib/mlkit/flights/journal.jsonl"))
    assert entry["signer"] == "ann" and entry["outcome"] == "deployed"

    record = signed / "release.json"
    as_signed = record.read_bytes()
    record.write_bytes(as_signed.replace(b'"verdict"', b' "verdict"', 1))
    code, said = deploy(signed)
    assert code == 3 and "release.json was changed after ann signed it" in said
    record.write_bytes(as_signed)

    # the keys are rotated: ann's counts no longer, and bob signs the same release
    (laptop.folder / "signers").write_text(signing[1])
    code, said = deploy(signed)
    assert code == 3 and "by a key that counts no longer" in said
    done = laptop.mlkit(
        "deploy", "lab", f"sha256:{laptop.model_1[7:]}",
        MLKIT_SIGNING_KEY=str(laptop.folder / "bob"), **laptop.environment,
    )  # fmt: skip
    assert f"{signed.name} is live on lab" in done.stdout
    accepted = fleet.ssh(1, f"cat /var/lib/mlkit/flights/releases/{signed.name}/accepted.json")
    assert json.loads(accepted)["signer"] in ("ann", "bob")


@pytest.fixture
def registry(tmp_path, fleet):
    "A registry of this machine, which the first host reaches as its own port."
    port = free_port()
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/images}}}}\nhttp: {{addr: 127.0.0.1:{port}}}\n"
    )
    program = shutil.which("docker-registry") or "docker-registry"
    server = subprocess.Popen(
        [program, "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    tunnel = subprocess.Popen(
        ["ssh", "-N", "-i", fleet.folder / "id", "-o", f"UserKnownHostsFile={fleet.folder}/known_hosts",
         "-o", "ExitOnForwardFailure=yes", "-R", f"{port}:127.0.0.1:{port}", f"root@{fleet.address(1)}"],
    )  # fmt: skip
    try:
        eventually(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/").status == 200)
        eventually(
            lambda: (
                "200"
                in fleet.ssh(
                    1, f"curl -s -o /dev/null -w '%{{http_code}}' http://127.0.0.1:{port}/v2/ || true"
                )
            )
        )
        yield f"127.0.0.1:{port}/team"
    finally:
        for process in (tunnel, server):
            process.terminate()
            process.wait(10)


def test_a_registry_is_used_where_one_is_named(laptop, registry, fleet):
    settings = laptop.folder / "settings.ini"
    before = settings.read_text()
    settings.write_text(before + f"[release]\nregistry = {registry}\n")
    try:
        laptop.model_1 = laptop.train(5)
        laptop.mlkit("register", laptop.model_1)
        made = make(laptop)
        image = json.loads((made / "release.json").read_text())["image"]
        assert image["reference"].startswith(f"{registry}/flights:")
        laptop.mlkit("deploy", "lab", made.name, **laptop.environment)
    finally:
        settings.write_text(before)
    assert registry in fleet.ssh(1, f"docker image inspect -f '{{{{.RepoDigests}}}}' {image['id']}")
