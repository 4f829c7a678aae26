"""The lock of a service on a host: one deployer at a time, and one that died is waited out.

    take(path, owner, token, seconds, why) -> lock    raises Held
    renew(path, token) -> lock                        raises Lost
    release(path, token) -> bool                      False when the lock was not (or no longer) this token's
    break_lock(path) -> lock or None                  whoever holds it; the lock that was broken
    look(path) -> lock or None                        with "age" and "expires_in", None when nobody holds it
    ran_out(path, token) -> bool                      this token's, and neither given back, broken, nor taken by another
    fence(fence)                                      raises Lost unless the fence's lock is its token's and live
    wait_for_host(path)                               as long as the host itself has it, which is not for long

A deployer can be suspended at any line and wake up when its lock is long another's. So whatever changes something on a host
is given a fence, {"path": …, "token": …}, and asks it right before each change.

A lock in a format of a newer mlkit is nobody's to take, renew or break: all of these raise NewerFormat then, which is a Lost.

Only this host's clock counts: a deployer's clock is never read.
"""

import fcntl
import json
import os
import time
from contextlib import contextmanager

FORMAT = "mlkit.lock/1"
OWNER = "the host itself"  # ends a deployment whose deployer is gone, and removes what it replaced; see recovery
ENDING = 60.0  # seconds: more than it needs


class Held(Exception):
    "Somebody else has the lock: owner, token, why, age and expires_in (seconds)."

    def __init__(self, lock, now):
        self.owner, self.token, self.why = lock["owner"], lock["token"], lock["why"]
        self.age = max(0.0, now - lock["taken"])
        self.expires_in = lock["heartbeat"] + lock["seconds"] - now
        super().__init__(
            "%s holds the lock since %d s (%s); it is free in %d s unless renewed"
            % (self.owner, self.age, self.why or "no reason given", self.expires_in + 1)
        )


class Lost(Exception):
    "The lock is no longer this token's: it ran out and somebody took it, or it was broken."


class NewerFormat(Lost):
    "The lock is in a format that another mlkit knows: this one cannot say who holds it."

    def __init__(self, path, found):
        super().__init__(
            f"{path} has the format {found}, and this mlkit knows {FORMAT}: deploy with the mlkit that wrote it, or a newer one"
        )


def take(path, owner, token, seconds, why):
    "Take the lock, or one that has run out; taking one's own again renews it. Raises Held."
    with _guarded(path):
        now, lock = time.time(), _read(path)
        if _live(lock, now) and lock["token"] != token:
            raise Held(lock, now)
        taken = lock["taken"] if _live(lock, now) else now
        return _write(path, owner=owner, token=token, taken=taken, heartbeat=now, seconds=seconds, why=why)


def renew(path, token):
    "Say that the holder still lives. Raises Lost, also when the lock ran out though nobody has taken it yet."
    with _guarded(path):
        now, lock = time.time(), _read(path)
        if not lock or lock["token"] != token:
            by = "{} has it now".format(lock["owner"]) if _live(lock, now) else "it was released or broken"
            raise Lost(f"the lock was lost: {by}")
        if not _live(lock, now):
            raise Lost("the lock was lost: it ran out %d s ago" % (now - lock["heartbeat"] - lock["seconds"]))
        return _write(path, **dict(lock, heartbeat=now))


def fence(given):
    "Whether one may change something now. Without a path there is no lock to ask for."
    if given and given.get("path"):
        renew(given["path"], given.get("token") or "")


def release(path, token):
    "Give one's own lock back; whether it was one's own."
    with _guarded(path):
        lock = _read(path)
        if not lock or lock["token"] != token:
            return False
        os.unlink(path)
        return True


def break_lock(path):
    "Take the lock away from whoever holds it; the lock that was broken, or None."
    with _guarded(path):
        lock = _read(path)
        if os.path.exists(path):
            os.unlink(path)
        return lock


def look(path):
    "Who holds the lock now, with `age` and `expires_in` in seconds; None when nobody does."
    now, lock = time.time(), _read(path)
    if not _live(lock, now):
        return None
    return dict(lock, age=now - lock["taken"], expires_in=lock["heartbeat"] + lock["seconds"] - now)


def ran_out(path, token):
    "Whether the lock is still this token's, and its time is over."
    lock = _read(path)
    return bool(lock) and lock["token"] == token and not _live(lock, time.time())


def wait_for_host(path, seconds=ENDING):
    "Wait as long as the host itself has the lock; the lock as it is then."
    until = time.monotonic() + seconds
    while (lock := look(path)) and lock["owner"] == OWNER and time.monotonic() < until:
        time.sleep(0.2)
    return lock


@contextmanager
def _guarded(path):
    with open(path + ".guard", "a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        yield


def _live(lock, now):
    # a heartbeat from the future means that the host's clock was set back: at most one term is waited for
    return (
        bool(lock)
        and lock["heartbeat"] <= now + lock["seconds"]
        and now < lock["heartbeat"] + lock["seconds"]
    )


def _read(path):
    "The lock in the file; None if there is none, or one that is no lock (it cannot be held by anyone)."
    try:
        with open(path, encoding="utf-8") as file:
            lock = json.load(file)
        if lock["format"] != FORMAT and str(lock["format"]).startswith("mlkit.lock/"):
            raise NewerFormat(path, lock["format"])
        float(lock["taken"]), float(lock["heartbeat"]), float(lock["seconds"])
        return lock if lock["format"] == FORMAT and lock["token"] and "owner" in lock and "why" in lock else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _write(path, **lock):
    lock["format"] = FORMAT
    beside = path + ".new"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # its token is a key
        json.dump(lock, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    return lock
