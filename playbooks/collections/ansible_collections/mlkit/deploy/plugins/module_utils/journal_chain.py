"""The journal of a service on a host: a line for each deployment, each holding the digest of the line before it.

    append(path, entry) -> entry    the entry as written: with format, number, previous, digest
    read(path) -> lines             the whole lines, as text
    verify(lines) -> problems       list of str, empty when the chain holds or a person has accepted what is wrong

What a chain alone cannot show is that its end was cut off: compare the last digest with the one noted elsewhere.
"""

import fcntl
import hashlib
import json
import os

FORMAT = "mlkit.deployment/1"
ACCEPTED = "accepted"


def canonical(entry):
    "The one way to write an entry."
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(entry):
    "sha256:… of the canonical JSON of an entry, without its own digest."
    bare = {key: value for key, value in entry.items() if key != "digest"}
    return "sha256:" + hashlib.sha256(canonical(bare).encode("utf-8")).hexdigest()


def line_digest(line):
    "sha256:… of a line as it is in the file, without its newline: what the next line calls `previous`."
    return "sha256:" + hashlib.sha256(line.encode("utf-8", "surrogateescape")).hexdigest()


def read(path):
    "The lines of the journal, whole or torn; none if there is no journal."
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return [line for line in file.read().split("\n") if line]
    except FileNotFoundError:
        return []


def append(path, entry):
    """Add an entry to the journal and give it back as written; it is on the disk when this returns.

    `format`, `number`, `previous` and `digest` are set here. With the outcome `accepted` it says of its `problems` that somebody
    has looked at them; `before` is then the digest of all lines before it, and its number at least `least`. A last line that was torn by a crash is moved, byte for
    byte, to a file of its own beside the journal, and the entry names it: `"torn": {"file", "bytes", "digest"}`.
    """
    with open(path + ".guard", "a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        torn = _set_aside(path)
        lines = read(path)
        last = lines[-1] if lines else None
        try:
            number = json.loads(last)["number"] + 1 if last else 1
        except (ValueError, KeyError, TypeError):
            number = len(lines) + 1  # the last line was changed by hand: verify says so, deployments go on
        number = max(number, entry.get("least", 0))
        whole = dict(entry, format=FORMAT, number=number, previous=line_digest(last) if last else None)
        if entry.get("outcome") == ACCEPTED:
            whole["before"] = line_digest("\n".join(lines))
        if torn:
            whole["torn"] = torn
        whole["digest"] = digest_of(whole)
        with open(path, "ab") as file:
            file.write(canonical(whole).encode("utf-8", "surrogateescape") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path)
        return whole


def verify(lines):
    "What is wrong with the lines of a journal, a sentence for each, naming the line; nothing when the chain holds."
    problems, before, expected = [], None, 1
    for place, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError("not an object")
        except ValueError:
            problems.append("line %d is not a JSON object: it was torn or changed" % place)
            before, expected = line_digest(line), expected + 1
            continue
        number = entry.get("number")
        if accepts(entry, lines[: place - 1]):
            problems = [problem for problem in problems if problem not in entry["problems"]]
            expected = max(expected, number)
        if entry.get("digest") != digest_of(entry):
            problems.append("line %d was changed: its digest does not fit its content" % place)
        elif line != canonical(entry):
            problems.append("line %d was changed: it is written in another way than mlkit writes" % place)
        if number != expected:
            problems.append(
                "line %d has the number %r, expected %d: a line before it was removed or moved"
                % (place, number, expected)
            )
        if entry.get("previous") != before:
            problems.append(
                "line %d does not follow the line before it: one was changed, removed or moved" % place
            )
        before = line_digest(line)
        expected = number + 1 if type(number) is int else expected + 1
    return problems


def accepts(entry, before):
    "Whether somebody has accepted the problems of these lines, and they are still those lines."
    return (
        entry.get("outcome") == ACCEPTED
        and entry.get("digest") == digest_of(entry)
        and entry.get("before") == line_digest("\n".join(before))
        and isinstance(entry.get("problems"), list)
        and type(entry.get("number")) is int
    )


def _set_aside(path):
    "Move a last line without a newline to a file of its own; what it was, or None."
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    end = content.rfind(b"\n") + 1
    rest = content[end:]
    if not rest:
        return None
    digest = hashlib.sha256(rest).hexdigest()
    beside = f"{path}.torn-{digest[:12]}"
    with open(beside, "wb") as file:
        file.write(rest)
        file.flush()
        os.fsync(file.fileno())
    _sync_folder(path)
    with open(path, "r+b") as file:
        file.truncate(end)
        os.fsync(file.fileno())
    return {"file": os.path.basename(beside), "bytes": len(rest), "digest": "sha256:" + digest}


def _sync_folder(path):
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
