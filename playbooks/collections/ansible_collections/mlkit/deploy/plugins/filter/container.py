"What a container is given beside its image, as options that docker and podman understand."

import json
import posixpath
import re

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OURS = {  # variable → what sets it
    "MLKIT_RELEASE": "the deployment",
    "MLKIT_PROBE": "the deployment",
    "GUNICORN_CMD_ARGS": "the image",
    "MLKIT_MODEL": "the image",
    "PATH": "the image",
    "PYTHONPATH": "the image",
    "MLKIT_PREDICTIONS": "service_predictions",
    "MLKIT_KEYS": "service_keys_file",
    "WEB_CONCURRENCY": "service_workers",
}
# of the image, of the deployment, of the kernel; /var/run leads to /run
PLACES = "/app /opt /model /predictions /keys /run/secrets /var/run /tmp /proc /sys /dev /usr /etc /lib /lib64 /bin /sbin".split()


class Refused(Exception):
    "A setting that cannot be; the words say why and what to do."


def container_options(variables, volumes, cpus):
    """The options for service_env, service_volumes and service_cpus, as `{"options": […]}`; or `{"refused": why}`.

    A value from settings.ini or a command line is text: there a mapping or a list is JSON.
    """
    try:
        variables = parsed("service_env", variables, dict, '{"OMP_NUM_THREADS": "1"}')
        volumes = parsed("service_volumes", volumes, list, '["/srv/data:/data:ro"]')
        given = [variable(name, value) for name, value in sorted(variables.items())]
        return {"options": given + [volume(each) for each in volumes] + limit(cpus)}
    except Refused as refusal:
        return {"refused": str(refusal)}


def parsed(setting, value, kind, example):
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, kind):
        raise Refused(f"{setting} is not a {'mapping' if kind is dict else 'list'}: write it like {example}")
    return value


def variable(name, value):
    if not NAME.fullmatch(str(name)):
        raise Refused(
            f"service_env: {name!r} cannot be the name of a variable: letters, digits and _, such as OMP_NUM_THREADS"
        )
    if name in OURS:
        raise Refused(f"service_env: {name} is set by {OURS[name]}, not here")
    if not isinstance(value, str | int | float) or any(ord(each) < 32 for each in str(value)):
        raise Refused(f"service_env: {name} has a value that is not one line of text: {str(value)[:40]!r}")
    return f"--env={name}={value}"


def volume(text):
    host, _, rest = str(text).partition(":")
    inside, _, mode = rest.partition(":")
    plain = all(
        each == posixpath.normpath(each) and each.startswith("/") and each[1:2] != "/"
        for each in (host, inside)
    )
    if not plain or mode not in ("", "ro") or str(text).endswith(":"):
        raise Refused(
            f"service_volumes: {text!r} is not /path/on/host:/path/in/container, with or without :ro at its end"
        )
    if any(within(inside, place) or within(place, inside) for place in PLACES):
        raise Refused(
            f"service_volumes: {text!r} would hide {inside} of the container: take another path there, such as /data"
        )
    return f"--volume={text}"


def within(path, folder):
    return f"{path}/".startswith(f"{folder.rstrip('/')}/")


def limit(cpus):
    try:
        number = float(cpus)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number <= 1024:
        raise Refused(f"service_cpus: {cpus!r} is not a number of processors: 0 for no limit, or such as 1.5")
    return [f"--cpus={number:g}"] if number else []


class FilterModule:
    def filters(self):
        return {"container_options": container_options}
