"""The proxy's configuration on this host: joined from pieces, checked by the proxy itself, reloaded without a cut connection.

The renewal of certificates uses it too, on hosts where no Ansible is: the standard library alone.
"""

import contextlib
import fcntl
import os
import re
import socket
import subprocess
import time

SHARED = "00-global.cfg"
SOCKET = "/run/haproxy.sock"

# What waits in a socket that is closed is lost: a reload takes the open sockets over. systemd's unit does so by itself; an
# init script has to be told. It reads this file with its own arguments.
INIT_SETTINGS = "/etc/default/haproxy"
HAND_OVER = """
# mlkit: a reload takes over the sockets of the running proxy
case "$1" in reload|force-reload) [ ! -S /run/haproxy.sock ] || EXTRAOPTS="$EXTRAOPTS -x /run/haproxy.sock" ;; esac
"""


class Refused(Exception):
    "The proxy does not take a change, and goes on with what it had; the words say why."


def read(path):
    "The text of a file; None if there is none."
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write_whole(path, text, mode=0o644):
    unfinished = path + ".unfinished"
    with open(
        os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(unfinished, mode)
    os.rename(unfinished, path)
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power cut may bring back the file that was there before
    finally:
        os.close(folder)


@contextlib.contextmanager
def alone(pieces):
    "Two deployments, or one and a renewal, do not change a host's proxy at once."
    os.makedirs(pieces, mode=0o755, exist_ok=True)
    with open(os.path.join(pieces, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pieces_of(folder):
    "Text by name, of every piece."
    names = [name for name in os.listdir(folder) if name.endswith(".cfg")]
    return {name: read(os.path.join(folder, name)) for name in names}


def joined(pieces):
    "The configuration that the pieces make."
    return "".join(pieces[name] for name in sorted(pieces))


def check(config, text):
    "Let the proxy judge a configuration. Raises `Refused`."
    tried = config + ".tried"
    write_whole(tried, text)
    try:
        done = subprocess.run(
            ["haproxy", "-c", "-f", tried],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    finally:
        os.remove(tried)
    if done.returncode:
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        alerts = [line.partition(" : ")[2] for line in lines if line.startswith("[ALERT]")]
        raise Refused("the proxy refuses its new configuration: " + " ".join(alerts or lines))


def put(config, folder, pieces):
    """Make these pieces the configuration, reload, and give the processes that finish their requests. Raises `Refused`.

    A piece without text is removed. A proxy that refuses to reload leaves the old pieces in place.
    """
    now = pieces_of(folder)
    new = {name: text for name, text in {**now, **pieces}.items() if text}
    whole = joined(new)
    check(config, whole)
    before = read(config)
    write_pieces(config, folder, whole, pieces)
    hand_over_sockets()
    try:
        return reload()
    except Refused:
        write_pieces(config, folder, before, {name: now.get(name) for name in pieces})
        raise


def write_pieces(config, folder, whole, pieces):
    for name, text in {os.path.join(folder, name): text for name, text in pieces.items()}.items():
        if text:
            write_whole(name, text)
        elif os.path.exists(name):
            os.remove(name)
    if whole:
        write_whole(config, whole)


def hand_over_sockets():
    "Have the init script, where one starts the proxy, keep its sockets open over a reload."
    if os.path.isdir("/run/systemd/system") or not os.path.exists("/etc/init.d/haproxy"):
        return
    text = read(INIT_SETTINGS) or ""
    if HAND_OVER not in text:
        write_whole(INIT_SETTINGS, text + HAND_OVER)


def processes():
    "The running processes of the proxy."
    done = subprocess.run(["pidof", "haproxy"], stdout=subprocess.PIPE, check=False)
    return done.stdout.decode().split()


def tell(path, command):
    "What the proxy answers to a command. Raises `OSError` if none runs."
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(path)
        link.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: link.recv(65536), b"")).decode()


def answering():
    "The process that answers at the proxy's socket; nothing if none does."
    try:
        found = re.search(r"^Pid: (\d+)$", tell(SOCKET, "show info"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def reload():
    """Start new processes, or the first; give the old ones, which finish their requests. Raises `Refused`.

    What the proxy is told from then on reaches the new ones.
    """
    before = processes()
    done = subprocess.run(
        ["service", "haproxy", "reload" if before else "start"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise Refused("the proxy could not be reloaded: " + said)
    deadline = time.monotonic() + 10
    while answering() in ("", *before):
        if time.monotonic() > deadline:
            raise Refused("the proxy was told to reload and did not within 10 s: see its log")
        time.sleep(0.02)
    stays = (read("/run/haproxy.pid") or "").split()  # with systemd the first process outlives a reload
    return [process for process in before if process not in stays]
