"""A process of the host that outlives the module which starts it, and the connection over which that came."""

import os
import syslog


def run_detached(work, failure):
    "Run `work()` apart from the one that calls. What it raises goes to the log of the system, after the words `failure`."
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # ssh waits for whoever holds its streams
        os.dup2(nowhere, stream)
    os.closerange(3, 64)  # locks are their caller's
    try:
        work()
    except Exception as error:  # nobody listens any more but the log of the system
        syslog.syslog(syslog.LOG_ERR, f"mlkit: {failure}: {error!r}")
    finally:
        os._exit(0)
