#!/usr/bin/python
"""One stroke of a deployment on a host.

All strokes are one module, for Ansible packs a module for each name anew, which takes longer than most of what they do.
"""

from ..module_utils.stroke import run_stroke

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
        from ..module_utils.stroke_begin import begin as run
    elif step.want["stroke"] == "prepare":
        from ..module_utils.stroke_prepare import prepare as run
    elif step.want["stroke"] == "switch":
        from ..module_utils.stroke_switch import switch as run
    else:
        from ..module_utils.stroke_end import end as run
    return run(step)


if __name__ == "__main__":
    run_stroke(stroke, OPTIONS, check_mode=("begin",), needs=NEEDS)
