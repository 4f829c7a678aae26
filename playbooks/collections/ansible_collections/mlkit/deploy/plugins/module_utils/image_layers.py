"""The image of a release on its way into the engine: only the layers that the engine lacks are sent, each resumed where it was cut."""

import hashlib
import io
import json
import os
import shutil
import tarfile

from .container_engine import storage
from .failed import Failed
from .full_disk import disk_full
from .proxy_config import write_whole


def digest_of(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            found.update(piece)
    return "sha256:" + found.hexdigest()


def known_layers(engine, layers):
    "How many of the lowest layers the engine has, in this order, from any image."
    ids = sorted(set(engine("image", "ls", "--all", "--quiet", "--no-trunc")[1].split()))
    most = 0
    for image in json.loads(engine("image", "inspect", *ids)[1]) if ids else []:
        theirs, same = image["RootFS"].get("Layers") or [], 0
        while same < min(len(theirs), len(layers)) and theirs[same] == layers[same]:
            same += 1
        most = max(most, same)
    return most


class Incoming:
    """The layers of one image, in a folder until they are loaded.

    `image`: id, tag and reference (where a registry has it), as the release says; config (its text), layers (digests, lowest first) and
    sizes (bytes by layer), as the archive says.
    """

    def __init__(self, engine, folder, image, run):
        self.engine_name, self.image, self.run = engine, image, run
        self.folder = os.path.join(folder, "incoming")

    def engine(self, *words):
        return self.run([self.engine_name, *words])

    def path(self, layer):
        return os.path.join(self.folder, layer.replace(":", "-"))

    def present(self):
        return self.engine("image", "inspect", "--format=found", self.image["id"])[0] == 0

    def pull(self):
        "Why the registry did not give the image; nothing if it did, or if there is none to ask."
        reference = self.image["reference"]
        if not reference:
            return ""
        code, _, err = self.engine("pull", "--quiet", reference)
        if code:
            return err.strip() or f"pull exited with {code}"
        if not self.present():
            return f"{reference} is another image than the release names"
        self.engine("tag", self.image["id"], self.image["tag"])
        return ""

    def missing(self, everything=False):
        "The layers of which bytes must be sent, lowest first, with how many bytes are here. Raises `Failed` where the disk is too small."
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        layers = self.image["layers"]
        first = 0 if everything else known_layers(self.engine, layers)
        for name in os.listdir(self.folder):  # of a release that was given up
            if os.path.join(self.folder, name) not in map(self.path, layers):
                os.remove(os.path.join(self.folder, name))
        have = {layer: self.have(layer) for layer in layers[first:]}
        missing = {layer: size for layer, size in have.items() if size < self.image["sizes"][layer]}
        self.require_room(sum(self.image["sizes"][layer] - size for layer, size in missing.items()))
        return missing

    def have(self, layer):
        "Bytes of a layer that are here; a file that cannot be a beginning of it is removed."
        path, whole = self.path(layer), self.image["sizes"][layer]
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size > whole or (size == whole and digest_of(path) != layer):
            os.remove(path)
            return 0
        return size

    def require_room(self, more):
        "The layers are here twice until they are loaded."
        for place in {self.folder, storage(self.engine_name, self.run)} if more else ():
            if shutil.disk_usage(place).free < more * 1.1 + 16e6:
                raise Failed(disk_full(place, more * 1.1 + 16e6))

    def load(self):
        """Load what is here into the engine: nothing if it has the image then, else what it said. Raises `Failed`.

        The archive names all layers and holds only those that were sent, the others as empty files: the engine looks for each layer by
        its chain before it reads the archive. One that wants them all (containerd's image store) gets the rest in a second round.
        """
        archive, config = os.path.join(self.folder, "image.tar"), self.image["config"].encode()
        if "sha256:" + hashlib.sha256(config).hexdigest() != self.image["id"]:
            raise Failed("image could not be loaded: the archive holds another image than " + self.image["id"])
        try:
            self.write(archive, config)
            code, out, err = self.engine("load", "--quiet", "--input", archive)
        finally:
            if os.path.exists(archive):
                os.remove(archive)
        if self.present():
            shutil.rmtree(self.folder)
            return ""
        return ((err or out).strip().splitlines() or [str(code)])[-1]

    def write(self, archive, config):
        names = [layer.replace(":", "-") for layer in self.image["layers"]]
        manifest = [{"Config": "config.json", "RepoTags": [self.image["tag"]], "Layers": names}]
        with tarfile.open(archive, "w") as tar:
            for name, data in (("config.json", config), ("manifest.json", json.dumps(manifest).encode())):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
            for layer, name in zip(self.image["layers"], names):
                if not os.path.exists(self.path(layer)):
                    tar.addfile(tarfile.TarInfo(name))  # podman wants every file that the manifest names
                elif digest_of(self.path(layer)) != layer:
                    os.remove(self.path(layer))
                    raise Failed(f"image could not be loaded: a sent layer is not {layer}")
                else:
                    tar.add(self.path(layer), name)


def bring(engine, folder, image, sent, everything, run):
    """Have the engine know the image: nothing once it does, else what to send first.

    That is `missing`, by `Incoming.missing`, whether it is `everything`, and why a `registry` did not give the image.
    `sent` says that what was asked for has been sent, and `everything` that all layers were asked for: what is loaded then is the last
    chance. Raises `Failed`.
    """
    incoming = Incoming(engine, folder, image, run)
    if not sent:
        if incoming.present():
            return {}
        registry = incoming.pull()
        if image["reference"] and not registry:
            return {}
        if missing := incoming.missing():
            return {"missing": missing, "everything": False, "registry": registry}
    refused = incoming.load()
    if not refused:
        return {}
    if "no space left" in refused.lower():
        raise Failed(f"{disk_full(storage(engine, run))}; {engine} said: {refused}")
    rest = {} if everything else incoming.missing(everything=True)
    if not rest:
        raise Failed("image could not be loaded: " + refused)
    return {"missing": rest, "everything": True}


def keep_records(folder, release, texts):
    "Write the files of a release, each whole or not at all."
    place = os.path.join(folder, "releases", release)
    os.makedirs(place, mode=0o700, exist_ok=True)
    for name, text in sorted(texts.items()):
        write_whole(os.path.join(place, name), text, 0o600)
