"The third stroke of a deployment on a host: clients are led to the new container, and back at once when a gate fails."

import os

from .deploy_lock import Lost
from .failed import Failed
from .golden_rows import replay
from .live_watch import watch
from .pending import digest_of_token, write_pending
from .proxy_config import Refused
from .proxy_piece import lead_clients


class Switch:
    def __init__(self, step):
        self.step, self.want, self.plan = step, step.want, step.want["plan"]
        self.new = {key: self.plan[key] for key in ("colour", "port")}
        self.old = self.plan["old"] and {key: self.plan["old"][key] for key in ("colour", "port")}
        self.before, self.led = [], False  # led: whether the new container may get requests

    def lead(self, listen, first, second=None):
        "Lead the clients to these containers. Raises what `lead_clients` raises: what was there before is there still."
        led, self.led = self.led, self.led or first == self.new or second is not None
        try:
            self.before += lead_clients(self.want, listen, first, second)
        except (Lost, Refused):
            self.led = led
            raise

    def forth(self):
        "A share of the clients, if that is asked for, and then all. Raises `Failed`, and what `lead` raises."
        want, same = self.want, self.old and self.plan["old"]["listen"] == self.want["listen"]
        if want["share"] and same:
            self.lead(want["listen"], self.old, {**self.new, "share": want["share"]})
            self.watch(share=True)
        self.lead(want["listen"], self.new, self.old)
        golden = os.path.join(want["folder"], "releases", want["release"]["id"], "golden.json")
        model = want["release"]["model"]["digest"]
        replayed = replay(golden, want["listen"], model, want["probe"], seconds=10, tls=want["tls"])
        self.step.gates.append(replayed)
        if float(want["watch"]["seconds"]) > 0:
            self.watch(share=False)
        self.step.fence()
        write_pending(want["service"], want["folder"], self.pending())

    def pending(self):
        "What the host needs to record this, or to go back, without its deployer."
        want = self.want
        entry = {**want["pending"]["entry"], "gates": want["pending"]["entry"]["gates"] + self.step.gates}
        both = {key: want[key] for key in ("service", "listen", "proxy")}
        token = digest_of_token(want["fence"]["token"])
        return {**want["pending"], **both, "entry": entry, "token": token, "drain": self.before}

    def watch(self, share):
        limits = {"service": self.want["service"], "probe": self.want["probe"], **self.want["watch"]}
        watch({**limits, "old": self.old or {}, "new": self.new, "share": share}, self.step.gates)

    def back(self):
        "Lead all clients to the old container again; why that could not be done, or nothing."
        if not self.led:
            return ""
        try:
            self.lead(self.plan["old"]["listen"] if self.old else 0, self.old)
            return ""
        except (Lost, Refused, OSError) as error:
            return str(error)


def switch(step):
    switching = Switch(step)
    step.fence()
    try:
        switching.forth()
    except (Failed, Lost, Refused, OSError) as error:
        stays = switching.back()
        cause = f"{error}; and the old container could not be given the requests again: {stays}" if stays else str(error)
        raise Failed(cause, switched=bool(stays), before=switching.before) from error
    return {"switched": True, "before": switching.before}

