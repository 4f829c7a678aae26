#!/usr/bin/python
"The host's half of send_release: which layers the engine lacks, loading them, and keeping the release's records."

import hashlib
import io
import json
import os
import shutil
import tarfile

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_engine import storage
from ansible.module_utils.proxy_config import write_whole

DOCUMENTATION = r"""
module: release_image
short_description: Receive the image of a release
description:
  - C(look) says which layers must be sent, with the bytes that are here already from a transfer that was cut.
  - C(load) checks the sent layers by their digests and loads them into the engine.
  - C(keep) writes the records of the release, each whole or not at all.
options:
  engine: {description: docker or podman., type: str, required: true}
  do: {description: What to do., type: str, required: true, choices: [look, load, keep]}
  folder: {description: The folder of the service., type: path, required: true}
  release: {description: Id of the release., type: str, required: true}
  id: {description: Id of the image., type: str, required: true}
  tag: {description: Tag of the image., type: str, required: true}
  config: {description: The image's configuration., type: str, required: true}
  layers: {description: Digests of the layers, lowest first., type: list, elements: str, required: true}
  sizes: {description: Bytes by layer., type: dict}
  reference: {description: Where a registry has the image; tried before anything is sent., type: str, default: ""}
  records: {description: Text by file name., type: dict}
  everything: {description: Ask for the layers that the engine has too., type: bool, default: false}
  final: {description: Whether a load that fails is a failure., type: bool, default: false}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: The action plugin send_release calls it
  send_release:
    release: "{{ service_release }}"
    folder: /var/lib/mlkit/flights
"""

RETURN = r"""
present: {description: Whether the engine has the image., type: bool, returned: for look and load}
registry: {description: Why the registry did not give the image., type: str, returned: for look}
wanted: {description: Bytes that are here by layer that must be sent., type: dict, returned: for look}
cause: {description: Why it failed., type: str, returned: failure}
"""


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
    "The layers of one image on their way into the engine."

    def __init__(self, module):
        self.module, self.want = module, module.params
        self.folder = os.path.join(self.want["folder"], "incoming")

    def engine(self, *words):
        return self.module.run_command([self.want["engine"], *words])

    def path(self, layer):
        return os.path.join(self.folder, layer.replace(":", "-"))

    def present(self):
        return self.engine("image", "inspect", "--format=found", self.want["id"])[0] == 0

    def have(self, layer):
        "Bytes of a layer that are here; a file that cannot be a beginning of it is removed."
        path = self.path(layer)
        size = os.path.getsize(path) if os.path.exists(path) else 0
        if size > self.want["sizes"][layer] or (
            size == self.want["sizes"][layer] and digest_of(path) != layer
        ):
            os.remove(path)
            return 0
        return size

    def pull(self):
        "Why the registry did not give the image; nothing if it did, or if there is none to ask."
        reference = self.want["reference"]
        if not reference:
            return ""
        code, _, err = self.engine("pull", "--quiet", reference)
        if code:
            return err.strip() or f"pull exited with {code}"
        if not self.present():
            return f"{reference} is another image than the release names"
        self.engine("tag", self.want["id"], self.want["tag"])
        return ""

    def look(self):
        if self.present():
            return {"present": True}
        refused = self.pull()
        if self.present():
            return {"present": True, "changed": True}
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        first = 0 if self.want["everything"] else known_layers(self.engine, self.want["layers"])
        wanted = self.want["layers"][first:]
        for name in os.listdir(self.folder):  # of a release that was given up
            if os.path.join(self.folder, name) not in map(self.path, self.want["layers"]):
                os.remove(os.path.join(self.folder, name))
        have = {layer: self.have(layer) for layer in wanted}
        self.require_room(sum(self.want["sizes"][layer] - have[layer] for layer in wanted))
        return {"present": False, "wanted": have, "registry": refused}

    def require_room(self, more):
        "The layers are here twice until they are loaded."
        places = {self.folder: more, storage(self.want["engine"], self.module.run_command): more}
        for place, needed in places.items():
            free = shutil.disk_usage(place).free
            if more and free < needed * 1.1 + 16e6:
                self.fail(
                    "disk full: {} has {} MB free and the layers need {} MB; free some, or keep fewer releases"
                    " (service_keep_releases)".format(place, int(free / 1e6), int(needed * 1.1 / 1e6) + 16)
                )

    def load(self):
        archive = os.path.join(self.folder, "image.tar")
        names = [layer.replace(":", "-") for layer in self.want["layers"]]
        config = self.want["config"].encode()
        said = "sha256:" + hashlib.sha256(config).hexdigest()
        if said != self.want["id"]:
            self.fail("image could not be loaded: the archive holds another image than " + self.want["id"])
        manifest = [{"Config": "config.json", "RepoTags": [self.want["tag"]], "Layers": names}]
        try:
            with tarfile.open(archive, "w") as tar:
                for name, data in (("config.json", config), ("manifest.json", json.dumps(manifest).encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                for layer, name in zip(self.want["layers"], names):
                    if not os.path.exists(self.path(layer)):
                        tar.addfile(tarfile.TarInfo(name))  # podman wants every file that the manifest names
                    else:
                        if digest_of(self.path(layer)) != layer:
                            os.remove(self.path(layer))
                            self.fail("image could not be loaded: a sent layer is not {}".format(layer))
                        tar.add(self.path(layer), name)
            code, out, err = self.engine("load", "--quiet", "--input", archive)
        finally:
            if os.path.exists(archive):
                os.remove(archive)
        if self.present():
            shutil.rmtree(self.folder)
            return {"present": True, "changed": True}
        if self.want["final"]:
            self.fail("image could not be loaded: " + ((err or out).strip().splitlines() or [str(code)])[-1])
        return {"present": False}

    def keep(self):
        folder = os.path.join(self.want["folder"], "releases", self.want["release"])
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name, text in sorted(self.want["records"].items()):
            write_whole(os.path.join(folder, name), text, 0o600)
        return {"changed": True}

    def fail(self, cause):
        self.module.fail_json(msg=cause, cause=cause)


def main():
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "required": True},
            "do": {"type": "str", "required": True, "choices": ["look", "load", "keep"]},
            "folder": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "id": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
            "config": {"type": "str", "required": True},
            "layers": {"type": "list", "elements": "str", "required": True},
            "sizes": {"type": "dict"},
            "reference": {"type": "str", "default": ""},
            "records": {"type": "dict"},
            "everything": {"type": "bool", "default": False},
            "final": {"type": "bool", "default": False},
        },
    )
    incoming = Incoming(module)
    try:
        module.exit_json(**{"changed": False, **getattr(incoming, module.params["do"])()})
    except OSError as error:
        incoming.fail(("disk full: " if error.errno == 28 else "layers could not be kept: ") + str(error))


if __name__ == "__main__":
    main()
