"""Bring a release to a host: only the layers that its engine lacks cross the wire, each resumed where it was cut.

The archive that a host loads names all layers of the image and holds only those that are new to it, and the others as
empty files: the engine looks for each layer by its chain before it reads the archive. An engine that wants them all
(containerd's image store) gets the rest in a second round.
"""

import json
import os
import shlex
import tarfile

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

PIECE = 8 * 1024 * 1024  # bytes a command; what a cut costs at most


class Refused(Exception):
    "A step on the host failed; the argument is its result."


class ActionModule(ActionBase):
    _supports_check_mode = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        self.task_vars, self.release = task_vars, self._task.args["release"]
        self.folder = os.path.join(self._task.args["folder"], "incoming")
        try:
            with tarfile.open(self.release["archive"]) as archive:
                return self.send(archive)
        except Refused as refusal:
            return refusal.args[0]
        except (tarfile.TarError, KeyError, ValueError) as error:
            return failure(
                f"image could not be loaded: {self.release['archive']} is no image archive: {error}"
            )
        except AnsibleConnectionFailure as error:
            return {**failure(f"host lost: {' '.join(str(error).split())}"), "lost": True}

    def send(self, archive):
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = archive.extractfile(manifest["Config"]).read()
        image = {
            "id": self.release["image"]["id"],
            "tag": self.release["image"]["tag"],
            "reference": self.release["image"].get("reference", ""),
            "config": config.decode(),
            "layers": json.loads(config)["rootfs"]["diff_ids"],
        }
        if len(image["layers"]) != len(manifest["Layers"]):
            raise ValueError("its manifest and its config name different layers")
        members = dict(zip(image["layers"], map(archive.getmember, manifest["Layers"]), strict=True))
        sizes = {layer: member.size for layer, member in members.items()}
        sent, refused = 0, ""
        for everything in (False, True):
            seen = self.on_host("look", image, sizes=sizes, everything=everything)
            if seen.get("present"):
                break
            refused = seen["registry"]
            for layer, have in sorted(
                seen["wanted"].items(), key=lambda item: image["layers"].index(item[0])
            ):
                sent += self.send_layer(layer, archive, members[layer], have)
            loaded = self.on_host("load", image, sizes=sizes, final=everything)
            if loaded.get("present"):
                break
        self.on_host("keep", image, records=self.release["texts"])
        return {"changed": True, "sent_bytes": sent, "registry": refused}

    def on_host(self, do, image, **words):
        arguments = {
            "do": do,
            "engine": self._task.args["engine"],
            "folder": self._task.args["folder"],
            "release": self.release["id"],
            **image,
            **words,
        }
        result = self._execute_module(
            module_name="release_image", module_args=arguments, task_vars=self.task_vars
        )
        if result.get("failed"):
            raise Refused(result)
        return result

    def send_layer(self, layer, archive, member, have):
        "Append what the host lacks of one layer, and let it check the whole; the bytes that were sent."
        path = os.path.join(self.folder, layer.replace(":", "-"))
        source = archive.extractfile(member)
        source.seek(have)
        sent = 0
        while piece := source.read(PIECE):
            done = self._low_level_execute_command(
                f"umask 077; cat >> {shlex.quote(path)}", in_data=piece, sudoable=True
            )
            if done["rc"]:
                text = (done["stderr"] or done["stdout"]).strip()
                kind = "disk full: " if "no space left" in text.lower() else "layer could not be sent: "
                raise Refused(failure(kind + (text.splitlines() or [f"exit code {done['rc']}"])[-1]))
            sent += len(piece)
        return sent


def failure(cause):
    return {"failed": True, "msg": cause, "cause": cause}
