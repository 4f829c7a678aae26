"""Rules of the firewall that are in force on trial: they go back by themselves unless somebody keeps them in time.

    running() -> text                              the rules that are in force; empty without any
    begin(token, rules, seconds, connection)       raises Refused; from here on a process of the host watches the time
    keep(token, connection) -> rules               raises Refused over the same connection, and when the rules have gone back

Only the table `inet mlkit` is looked at and replaced, all of it at once: no packet meets half of the rules.
"""

import fcntl
import json
import os
import subprocess
import syslog
import time
from contextlib import contextmanager

from .detached import run_detached

PENDING = "/run/mlkit-firewall.json"  # not there after a boot, which ends a trial, too
LOCK = "/run/mlkit-firewall.lock"


class Refused(Exception):
    "Nothing was changed, or all of it has gone back; the words say why."


def running():
    try:
        return _nft("-s", "-p", "list", "table", "inet", "mlkit")
    except Refused:
        return ""


def replacing(rules):
    "What nft is given, so that it puts these rules in the place of those that are there."
    return "table inet mlkit\ndelete table inet mlkit\n" + rules


def begin(token, rules, seconds, connection):
    with _alone():
        pending = _read()
        if pending and pending["ends"] > time.monotonic():
            left = round(pending["ends"] - time.monotonic()) + 1
            raise Refused(f"somebody else tries rules of the firewall: again in {left} s")
        before = pending["before"] if pending else running()  # of a trial whose watcher was killed
        ends = time.monotonic() + seconds
        _write({"token": token, "rules": rules, "before": before, "ends": ends, "connection": connection})
        run_detached(lambda: _go_back_in_time(token), "the firewall could not go back by itself")
        try:
            _nft("-f", "-", text=replacing(rules))
        except Refused:
            os.remove(PENDING)
            raise


def keep(token, connection):
    with _alone():
        pending = _read()
        if not pending or pending["token"] != token:
            raise Refused("the time was over, and the rules of the firewall went back to what they were")
        if connection and connection == pending["connection"]:
            raise Refused(
                "this came over a connection that was there before the rules: take ControlPath out of ansible_ssh_args"
            )
        os.remove(PENDING)
        return pending["rules"]


def _go_back_in_time(token):
    pending = _read()
    while pending and pending["token"] == token and pending["ends"] > time.monotonic():
        time.sleep(0.5)
        pending = _read()
    with _alone():
        pending = _read()
        if pending and pending["token"] == token:
            _nft("-f", "-", text=replacing("") + pending["before"])
            os.remove(PENDING)
            syslog.syslog(
                syslog.LOG_WARNING, "mlkit: nobody came through the new firewall in time, so it went back"
            )


def _nft(*words, text=None):
    "What nft prints. Raises Refused with its own words."
    try:
        done = subprocess.run(["nft", *words], input=text, capture_output=True, check=False, encoding="utf-8")
    except FileNotFoundError as missing:
        raise Refused("nft is not there: install nftables") from missing
    if done.returncode:
        raise Refused("nft refuses the rules of the firewall: " + " ".join(done.stderr.split()))
    return done.stdout


def _read():
    try:
        with open(PENDING, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def _write(pending):
    with open(PENDING + ".unfinished", "w", encoding="utf-8") as file:
        json.dump(pending, file)
    os.rename(PENDING + ".unfinished", PENDING)


@contextmanager
def _alone():
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
