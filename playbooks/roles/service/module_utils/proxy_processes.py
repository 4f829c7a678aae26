"The processes of the proxy, which outlive a reload until their requests are answered."

import os
import time


def wait_for_end(drain, seconds, pidfile):
    "Whether all processes but the one that stays have ended in time."
    stays = set()
    if os.path.exists(pidfile):
        with open(pidfile, encoding="ascii") as file:
            stays = set(file.read().split())
    deadline = time.monotonic() + seconds
    while any(os.path.exists("/proc/" + process) for process in drain if process not in stays):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
