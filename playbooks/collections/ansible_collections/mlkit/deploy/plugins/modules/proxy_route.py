#!/usr/bin/python
"Change where the proxy of a host sends the requests of a service, without losing one."

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.deploy_lock import Lost
from ..module_utils.full_disk import why_not_written
from ..module_utils.proxy_config import Refused
from ..module_utils.proxy_piece import put_piece, service_piece


def main():
    module = AnsibleModule(
        argument_spec={
            "pieces": {"type": "path", "required": True},
            "config": {"type": "path", "required": True},
            "piece": {"type": "str", "required": True},
            "shared": {"type": "str", "required": True},
            "text": {"type": "str", "default": ""},
            "service": {"type": "dict"},
            "certificate": {"type": "str", "default": "", "no_log": True},
            "certificate_file": {"type": "path", "required": True},
            "fence": {"type": "dict", "default": {}},
        },
    )
    want = module.params
    text = service_piece(want["piece"], **want["service"]) if want["service"] else want["text"]
    try:
        before = put_piece(want["piece"], text, want, want["certificate"], want["fence"])
        module.exit_json(changed=True, before=before)
    except (Refused, Lost) as refused:
        module.fail_json(msg=str(refused), cause=str(refused))
    except OSError as error:
        cause = why_not_written(error, want["pieces"], "the proxy could not be changed")
        module.fail_json(msg=cause, cause=cause)


if __name__ == "__main__":
    main()
