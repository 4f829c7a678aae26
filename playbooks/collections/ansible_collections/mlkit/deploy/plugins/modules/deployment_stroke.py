#!/usr/bin/python
"""One stroke of a deployment on a host.

All strokes are one module, for Ansible packs a module for each name anew, which takes longer than most of what they do.
"""

from ansible.module_utils.stroke import run_stroke

DOCUMENTATION = r"""
module: deployment_stroke
short_description: Begin, prepare, switch, or end the deployment of a release on a host
description:
  - C(begin) takes the lock, looks, and decides what has to happen. C(prepare) loads the image and starts its container beside the one that
    serves. C(switch) leads the clients to it, and back at once when a gate fails. C(commit) and C(keep) record it, C(take back) undoes it,
    C(unlock) and C(leave) give the lock back.
  - Each checks the lock right before each thing that it changes. What each does is said in its file, C(module_utils/stroke_*.py).
options:
  stroke:
    description: What to do.
    type: str
    required: true
    choices: [begin, prepare, switch, commit, keep, take back, unlock, leave]
  service: {description: Name of the service., type: str, required: true}
  listen: {description: The service's port., type: int, required: true}
  home: {description: "Where services keep their state, to begin and to end.", type: path}
  folder: {description: "The folder of the service, to prepare and to switch.", type: path}
  engine: {description: "docker or podman; to begin, the one that the inventory names.", type: str}
  fence: {description: "The lock under which it is done; see deploy_lock.", type: dict}
  lock:
    description: "To begin: its owner, token, seconds and why, and the command that takes it away (break_with). To end: what a lock that is taken again says."
    type: dict
  patience:
    description: How long a lock is waited for that was taken a moment ago. Whoever has it may give it back, having lost the first host.
    type: float
    default: 0
  dead: {description: An owner of the lock whose process has ended., type: str, default: ""}
  texts: {description: "The release's files by name; empty for one that the host keeps.", type: dict, default: {}}
  image: {description: "The image in the release's archive, see image_layers; empty for one that the host keeps.", type: dict, default: {}}
  release_id: {description: The release to go back to; empty for the one before., type: str, default: ""}
  signers: {description: Text of the deployer's allowed signers., type: str, default: ""}
  settings: {description: Digest of what a container is started with., type: str}
  breaking: {description: Why the clients of the live release may be broken., type: str, default: ""}
  release: {description: "The release, as C(begin) gave it; see deployment_plan.", type: dict}
  plan: {description: "The plan, as C(begin) gave it; see deployment_plan.", type: dict}
  sent: {description: Whether the layers that were asked for have been sent., type: bool, default: false}
  everything: {description: Whether all layers were asked for., type: bool, default: false}
  command: {description: "What starts the container, after the engine's name.", type: list, elements: str}
  ready_seconds: {description: How long it may take until it is ready., type: int, default: 60}
  predictions: {description: Whether the host keeps a log of the predictions., type: bool, default: false}
  shadow: {description: "How it is compared with the live release; see shadow. Its command has no log of predictions.", type: dict, default: {}}
  probe: {description: File with the key with which deployments ask., type: str, default: ""}
  pending:
    description: What is written down when it is switched, for the host to end the deployment; see write_pending and keeping.
    type: dict
  share: {description: Percent of the requests that the new container gets at first; 0 for all of them., type: int, default: 0}
  watch: {description: "How it is watched: seconds and limits; see live_watch.", type: dict}
  tls: {description: Whether clients speak TLS., type: bool, default: false}
  begun: {description: What C(begin) returned., type: dict, default: {}}
  entry: {description: What the journal says., type: dict, default: {}}
  switched: {description: Whether the new container may get requests., type: bool, default: false}
  drain: {description: Processes of the proxy that finish their requests., type: list, elements: str, default: []}
  drain_seconds: {description: How long they may take., type: int, default: 30}
  proxy: {description: "The proxy's configuration; see proxy_piece.", type: dict}
  certificate: {description: "Chain and key of the proxy's piece.", type: str, default: ""}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Record the deployment, or take it back
  host_step:
    module: deployment_stroke
    stroke: keep
    home: /var/lib/mlkit
    service: flights
"""

RETURN = r"""
lacks: {description: "What the host lacks (engine, proxy). Then nothing else is returned.", type: list, returned: begin}
engine: {description: docker or podman., type: str, returned: begin}
plan: {description: What has to happen; see deployment_plan., type: dict, returned: begin}
release: {description: The release., type: dict, returned: begin}
signer: {description: Who signed it., type: str, returned: begin}
state: {description: The state before., type: dict, returned: begin}
missing: {description: "Layers to send, with the bytes that are here.", type: dict, returned: "begin, prepare"}
owner: {description: Who has the lock., type: str, returned: when it could not be taken}
ready: {description: That the container runs and has proved itself., type: bool, returned: prepare}
everything: {description: Whether the engine asks for all layers., type: bool, returned: "prepare, when the image is not there yet"}
registry: {description: Why the registry did not give the image., type: str, returned: "prepare, when the image is not there yet"}
compared: {description: What the shadow found., type: dict, returned: "prepare, with a shadow"}
before: {description: Processes of the proxy that finish their requests., type: list, returned: switch}
switched: {description: Whether the new container may still get requests., type: bool, returned: switch}
committed: {description: "Whether the deployment counts now, for all its hosts.", type: bool, returned: commit}
entry: {description: The journal's new line., type: dict, returned: "commit, keep, take back"}
log: {description: The last lines of the container that was taken back., type: str, returned: take back}
left: {description: "Whether nothing was taken back, since another deployer may have been here.", type: bool, returned: failure}
gates: {description: What was measured., type: list, returned: always}
cause: {description: What could not be done., type: str, returned: failure}
"""

ENDS = ["commit", "keep", "take back", "unlock", "leave"]
NEEDS = {  # beside service and listen
    "begin": ("home", "lock", "settings"),
    "prepare": ("folder", "engine", "release", "plan", "command", "proxy", "fence"),
    "switch": ("folder", "release", "plan", "pending", "watch", "proxy", "fence"),
    **dict.fromkeys(ENDS, ("home", "fence")),
}
OPTIONS = {
    "stroke": {"type": "str", "required": True, "choices": list(NEEDS)},
    "service": {"type": "str", "required": True},
    "listen": {"type": "int", "required": True},
    "home": {"type": "path"},
    "folder": {"type": "path"},
    "command": {"type": "list", "elements": "str"},
    "drain": {"type": "list", "elements": "str", "default": []},
    "certificate": {"type": "str", "default": "", "no_log": True},
    "patience": {"type": "float", "default": 0},
    "ready_seconds": {"type": "int", "default": 60},
    "share": {"type": "int", "default": 0},
    "drain_seconds": {"type": "int", "default": 30},
    **{name: {"type": "bool", "default": False} for name in ("sent", "everything", "predictions", "tls", "switched")},
    **{name: {"type": "str"} for name in ("engine", "settings")},
    **{name: {"type": "str", "default": ""} for name in ("dead", "release_id", "signers", "breaking", "probe")},
    **{name: {"type": "dict"} for name in ("fence", "lock", "release", "plan", "pending", "watch", "proxy")},
    **{name: {"type": "dict", "default": {}} for name in ("texts", "image", "shadow", "begun", "entry")},
}


def stroke(step):
    "Only what is needed is imported: the host compiles it each time."
    if step.want["stroke"] == "begin":
        from ansible.module_utils.stroke_begin import begin as run
    elif step.want["stroke"] == "prepare":
        from ansible.module_utils.stroke_prepare import prepare as run
    elif step.want["stroke"] == "switch":
        from ansible.module_utils.stroke_switch import switch as run
    else:
        from ansible.module_utils.stroke_end import end as run
    return run(step)


if __name__ == "__main__":
    run_stroke(stroke, OPTIONS, check_mode=("begin",), needs=NEEDS)
