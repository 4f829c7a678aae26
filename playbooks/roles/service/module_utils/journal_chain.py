"""A journal whose lines are chained by their digests, so that a changed, removed or moved line is found."""

import fcntl
import hashlib
import json
import os

FORMAT = "mlkit.deployment/1"


def canonical(entry):
    "The bytes of an entry that its digest is made of."
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(entry):
    "The digest of an entry, whether it carries one already or not."
    bare = {name: value for name, value in entry.items() if name != "digest"}
    return "sha256:" + hashlib.sha256(canonical(bare)).hexdigest()


def append(
    path,  # the journal; made if there is none
    entry,  # what happened, without number, previous and digest
):
    """Write the next line and give it, chained to the last whole one.

    A line that a power loss cut in half is moved to `<journal>.torn`. Raises OSError.
    """
    with open(path, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        end = text.rfind(b"\n") + 1
        if end < len(text):
            with open(path + ".torn", "ab") as torn:
                torn.write(text[end:] + b"\n")
            file.truncate(end)
        lines = text[:end].splitlines()
        last = json.loads(lines[-1].decode()) if lines else {}
        entry = dict(entry, format=FORMAT, number=len(lines) + 1, previous=last.get("digest"))
        entry["digest"] = digest_of(entry)
        whole = canonical(entry) + b"\n"
        try:
            os.write(file.fileno(), whole)
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
    os.chmod(path, 0o644)
    return entry


def verify(
    lines,  # of a journal, as text
):
    "What is wrong with a journal, a sentence for each line that does not fit; empty if nothing is."
    problems, previous = [], None
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            said = entry["digest"], entry["previous"], entry["number"]
        except (ValueError, KeyError, TypeError):
            problems.append("line {}: not a line of this journal".format(number))
            previous = None
            continue
        if digest_of(entry) != said[0]:
            problems.append("line {}: it was changed after it was written".format(number))
        if said[1] != previous or said[2] != number:
            problems.append("line {}: it does not follow the line before it: one was removed, moved or put in".format(number))
        previous = said[0]
    return problems
