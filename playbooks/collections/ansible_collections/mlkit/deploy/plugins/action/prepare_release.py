"""Run the second stroke of a deployment on a host, with the layers that it lacks: each is resumed where it was cut."""

import os
import shlex
import tarfile

from ansible.errors import AnsibleConnectionFailure

from .host_step import ActionModule as HostStep

PIECE = 8 * 1024 * 1024  # bytes a command; what a cut costs at most


class NotSent(Exception):
    "A layer could not be sent; the words say why."


class ActionModule(HostStep):
    _supports_check_mode = False

    def run(self, tmp=None, task_vars=None):
        arguments = {"stroke": "prepare", **self._task.args}
        archive, files = arguments.pop("archive"), arguments.pop("files")
        result, told = {"missing": arguments.pop("missing"), "everything": False}, {"sent_bytes": 0}
        try:
            while "ready" not in result and not result.get("failed"):
                told["sent_bytes"] += self.send(archive, files, result["missing"], arguments["folder"])
                arguments |= {"sent": bool(result["missing"]), "everything": result["everything"]}
                result = self.on_host("mlkit.deploy.deployment_stroke", arguments, task_vars)
                told |= {"registry": result["registry"]} if result.get("registry") else {}
            return result | told
        except AnsibleConnectionFailure as error:
            return self.lost(error)
        except (NotSent, tarfile.TarError, KeyError) as error:
            return self.failed(error)

    def send(self, archive, files, missing, folder):
        "Append what the host lacks of each layer; the bytes that were sent."
        if not missing:
            return 0
        with tarfile.open(archive) as tar:
            return sum(
                self.send_layer(tar.extractfile(files[layer]), layer, have, folder)
                for layer, have in missing.items()
            )

    def send_layer(self, source, layer, have, folder):
        path = os.path.join(folder, "incoming", layer.replace(":", "-"))
        left = source.seek(0, os.SEEK_END) - have
        source.seek(have)
        sent = 0
        while piece := source.read(PIECE):
            command = f"umask 077; cat >> {shlex.quote(path)}"
            done = self._low_level_execute_command(command, in_data=piece, sudoable=True)
            if done["rc"]:
                text = (done["stderr"] or done["stdout"]).strip()
                if "no space left" in text.lower():
                    raise NotSent(f"disk full: on the host, no room for {path}: {left - sent} of its {left + have} bytes were still to come")
                raise NotSent("layer could not be sent: " + (text.splitlines() or [f"exit code {done['rc']}"])[-1])
            sent += len(piece)
        return sent
