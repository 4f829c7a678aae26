"A file that the server in a container reads and nobody else: whole, or not there."

import os

CONTAINER = 10001  # uid and gid of the server in its container


def is_current(path, text):
    "Whether the file is there with this text, for the container alone."
    try:
        with open(path, encoding="utf-8", newline="") as file:
            found = os.fstat(file.fileno())
            return (found.st_uid, found.st_mode & 0o777, file.read()) == (CONTAINER, 0o400, text)
    except FileNotFoundError:
        return False


def put(path, text):
    "Write the file, by rename: a running container sees the old one or the new one. Raises `OSError`."
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    unfinished = path + ".unfinished"
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o400), "w", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chown(unfinished, CONTAINER, CONTAINER)
    os.rename(unfinished, path)
