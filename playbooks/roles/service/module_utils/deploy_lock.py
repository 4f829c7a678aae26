"""A lock on a service of a host: it has an owner and a heartbeat, and it ends by itself when the heartbeat does.

Only the host's own clock counts, so that the deployer's may be wrong.
"""

import contextlib
import fcntl
import json
import os
import time

FORMAT = "mlkit.lock/1"


class Held(Exception):
    "Somebody else has the lock. `lock` is the lock, `left` the seconds until it ends by itself."

    def __init__(self, lock, left):
        super().__init__(
            "locked: {} has been at it since {} ({}); its lock ends by itself in {:.0f} s if it gives no sign of life;"
            " see `mlkit lock`, or `mlkit unlock --break` if you know that it is dead".format(
                lock["owner"], lock["taken"], lock["why"], left
            )
        )
        self.lock, self.left = lock, left


class Lost(Exception):
    "The lock is no longer ours: it ended and somebody else took it, or it was broken."


@contextlib.contextmanager
def guarded(path):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path + ".guard", "w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def read(
    path,  # of the lock
):
    "The lock with the seconds that it is still good for, or (None, 0). A file that is no lock counts as none."
    try:
        with open(path, encoding="utf-8") as file:
            lock = json.load(file)
        left = lock["heartbeat"] + lock["seconds"] - time.time()
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0
    # A heartbeat in the future was written before the host's clock was set back.
    return (lock, min(left, lock["seconds"])) if left > 0 else (None, 0)


def write(path, lock):
    with open(path + ".unfinished", "w", encoding="utf-8") as file:
        json.dump(lock, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".unfinished", path)


def take(
    path,  # of the lock
    owner,  # "ann@laptop pid 4711"
    token,  # a secret of this run
    seconds,  # how long it is good for without a heartbeat
    why,  # for others to read
    gone="",  # an owner that is known to be dead
):
    "Take the lock, or raise `Held`. It is free when nobody has it, when it has ended, or when its owner is `gone`."
    with guarded(path):
        lock, left = read(path)
        if lock and lock["token"] != token and lock["owner"] != gone:
            raise Held(lock, left)
        write(
            path,
            {
                "format": FORMAT,
                "owner": owner,
                "token": token,
                "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "heartbeat": time.time(),
                "seconds": seconds,
                "why": why,
            },
        )


def renew(path, token):
    "A sign of life. Raises `Lost`."
    with guarded(path):
        lock, _ = read(path)
        if not lock or lock["token"] != token:
            raise Lost("the lock was lost: " + ("it is now held by " + lock["owner"] if lock else "it ended or was broken"))
        write(path, dict(lock, heartbeat=time.time()))


def release(path, token):
    "Give the lock back; nothing happens when it is somebody else's."
    with guarded(path):
        lock, _ = read(path)
        if lock and lock["token"] == token:
            os.remove(path)
