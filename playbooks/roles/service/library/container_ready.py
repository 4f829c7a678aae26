#!/usr/bin/python
"Wait until a container is ready with the model that we expect, or say at once why it never will be."

import json
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.container_engine import exit_of
from ansible.module_utils.rollout import gate

DOCUMENTATION = r"""
module: container_ready
short_description: Wait until a container serves the expected model
description:
  - Asks C(/readyz) until it answers 200 with the expected model digest.
  - Gives up at once when the container has exited or is ready with another model; otherwise when the time is up.
options:
  engine: {description: docker or podman., type: str, required: true}
  container: {description: Name of the container., type: str, required: true}
  port: {description: Where it is published on 127.0.0.1., type: int, required: true}
  model: {description: Digest of the model that it must serve., type: str, required: true}
  seconds: {description: How long it may take., type: int, required: true}
author: [The mlkit developers]
"""

EXAMPLES = r"""
- name: Wait until the new container is ready with the right model
  container_ready:
    engine: docker
    container: mlkit-flights-green
    port: 8002
    model: sha256:0f5c
    seconds: 60
"""

RETURN = r"""
gates: {description: The gate for the journal., type: list, returned: success}
seconds: {description: How long it took., type: float, returned: success}
cause: {description: Why it is not ready., type: str, returned: failure}
"""


def ask(port):
    "Status and body of /readyz; status 0 when nobody answers."
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode("utf-8", "replace")
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode("utf-8", "replace")
    except OSError as error:
        return 0, str(error)


def digest_in(body):
    try:
        return json.loads(body)["model"]["digest"]
    except (ValueError, KeyError, TypeError):
        return None


def main():
    module = AnsibleModule(
        argument_spec={
            "engine": {"type": "str", "required": True},
            "container": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "model": {"type": "str", "required": True},
            "seconds": {"type": "int", "required": True},
        },
        supports_check_mode=False,
    )
    want = module.params
    began = time.monotonic()

    def fail(cause):
        module.fail_json(msg=cause, cause=cause)

    look_at = began
    while True:
        if time.monotonic() >= look_at:  # dearer than the question itself
            look_at = time.monotonic() + 1
            ended = exit_of(want["engine"], module.run_command, want["container"])
            if ended:
                killed = " (killed: out of memory, see service_memory)" if ended[1] else ""
                fail(f"exited at start with code {ended[0]}{killed}")
        status, body = ask(want["port"])
        if status == 200:
            if digest_in(body) != want["model"]:
                fail(
                    f"wrong model: the release promises {want['model']}, /readyz says {digest_in(body) or body[:200]}"
                )
            took = round(time.monotonic() - began, 2)
            module.exit_json(
                changed=False, seconds=took, gates=[gate("seconds until ready", took, want["seconds"], 1)]
            )
        if time.monotonic() - began > want["seconds"]:
            said = (
                f"/readyz answered {status}: {body[:300]}"
                if status
                else f"nobody answered on port {want['port']}: {body}"
            )
            fail(f"not ready in time: after {want['seconds']} s (service_ready_seconds) {said}")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
