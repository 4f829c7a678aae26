"""The container engine of a host, docker or podman, and in what they differ.

What both understand alike is simply run: `[engine, "stop", …]`. `run` is a module's run_command.
"""

import json
import shutil
import subprocess

ENGINES = ("docker", "podman")


def find(named=""):
    """The engine of this host if it answers, else nothing: the one that the inventory names, or the first that is installed.

    One that is installed and does not answer is not passed over for the next: the services are in it.
    """
    name = next(filter(shutil.which, [named] if named else ENGINES), "")
    if not name:
        return ""
    answer = subprocess.run([name, "version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if answer.returncode:
        return ""
    return "podman" if b"Podman" in answer.stdout else name  # `docker` may be podman's stand-in for it


def storage(engine, run):
    "The folder where the engine keeps images."
    field = {"docker": "{{.DockerRootDir}}", "podman": "{{.Store.GraphRoot}}"}[engine]
    return run([engine, "info", "--format", field], check_rc=True)[1].strip()


def image_of(container):
    "The id of the image of a container that was inspected; podman leaves the algorithm out."
    return "sha256:" + container["Image"].split(":")[-1]


def removal(engine, *names):
    "The command that removes containers at once, running or not; podman would ask them to stop first."
    return [engine, "rm", "--force", *(["--time=0"] if engine == "podman" else []), *names]


def exit_of(engine, run, name):
    "The code with which a container has ended since it was started, and whether memory was the reason; None if it has not."
    container = json.loads(run([engine, "inspect", name], check_rc=True)[1])[0]
    state = container["State"]
    if not state["Running"]:
        return state["ExitCode"], state.get("OOMKilled", False)
    if engine == "podman" and container["RestartCount"]:  # it has restarted it, and forgotten why
        events = ["events", "--stream=false", "--filter=event=died", "--filter=container=" + container["Id"]]
        codes = run([engine, *events, "--format={{.ContainerExitCode}}"])[1].split()
        code = (codes or ["unknown"])[-1]
        return code, code == "137"
    return None


def steady_network(run, network="podman"):
    """Let the address of the bridge of a network of podman's stay as it is.

    netavark before 1.9 leaves it to the kernel, which takes the lowest of all containers': with any container that
    begins or ends it may change, and then the answers of the others get lost for up to two minutes.
    """
    told = run(["podman", "network", "inspect", network], check_rc=True)[1]
    bridge = json.loads(told)[0]["network_interface"]
    try:
        with open("/sys/class/net/" + bridge + "/address", encoding="ascii") as file:
            address = file.read().strip()
    except FileNotFoundError:  # the containers are in another network
        return
    run(["ip", "link", "set", "dev", bridge, "address", address], check_rc=True)
