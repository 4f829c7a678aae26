"""The end of a deployment on a host: what is live is recorded, and what is no longer needed is removed.

    commit(pending, entry, step) -> entry          record the pending deployment
    settle(pending, step)                          have the new container serve alone, also after a reboot
    stop_replaced(pending)                         let the old one finish its requests, and stop it: that needs no lock
    finish(pending, step)                          all of that, and remove what is kept no longer; then nothing is pending any more
    retire(engine, service, folder, gone, step)    remove what is no longer needed

Nothing is recorded for a container that does not run or that the proxy does not know, nothing that the proxy sends requests to is
removed, and whoever records asks the proxy once more at the end. Each can be done again after a crash.

`pending` is what pending.json holds: home, service, listen, begun (what the first stroke gave: engine, plan, release, state), rollback,
keep_releases, keep_megabytes, drain (processes of the proxy), drain_seconds, stop_seconds, proxy; and what write_pending wants.
"""

import json
import os
import shutil
import subprocess
import time

from .container_engine import complete, find, removal
from .deployment_plan import prunable, releases_after, state_after
from .drift import LIVE
from .failed import Failed
from .host_look import look_at_host
from .journal_chain import append, read
from .pending import clear_pending, publish, stay_out
from .proxy_config import write_whole
from .proxy_state import forget_second, servers, wait_for_end
from .release_trust import note_signer
from .service_records import recorded, releases_of, state_of


def commit(pending, entry, step):
    """Record the pending deployment, and give the journal's line. Raises `Failed`, `Lost`, `OSError`.

    Where the state names it already, what a crash may have left out is made good.
    """
    service, wanted, plan = pending["service"], pending["begun"]["release"], pending["begun"]["plan"]
    folder = os.path.join(pending["home"], service)
    if recorded(folder) == pending["deployment"]:
        return line_of(folder, pending["deployment"]) or append(journal_of(folder), entry)
    before, now = state_of(folder), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    staying = releases_after(before, releases_of(folder), wanted, pending["keep_releases"], pending["keep_megabytes"])
    state = state_after(before, wanted, plan["colour"], pending["listen"], now, staying, pending["rollback"])
    state |= {key: pending[key] for key in ("deployment", "host", "hosts", "meant_for", "returns")}
    step.fence()
    doing = "does not run or gets no requests, so nothing was recorded"
    require_serving(pending["begun"]["engine"], plan["container"], service, doing)
    note_signer(os.path.join(folder, "releases", wanted["id"]), entry)
    write_whole(os.path.join(folder, "state.json"), json.dumps(state, sort_keys=True, indent=2) + "\n")
    line = append(journal_of(folder), entry)
    publish(service, folder)
    stay_out(service, folder, False)
    return line


def journal_of(folder):
    return os.path.join(folder, "journal.jsonl")


def entries_of(folder):
    "The journal's lines that are whole."
    entries = []
    for line in read(journal_of(folder)):
        try:
            entries.append(json.loads(line))
        except ValueError:  # `mlkit journal` names it
            continue
    return [entry for entry in entries if isinstance(entry, dict)]


def line_of(folder, deployment):
    "The journal's line of a recorded deployment, or None."
    mine = [each for each in entries_of(folder) if each.get("deployment") == deployment and each.get("outcome") in LIVE]
    return mine[-1] if mine else None


def settle(pending, step):
    """From now on the recorded container serves alone: it comes back with its engine and after a reboot, and the one that it replaced does
    not; the proxy forgets that one.

    Raises `Failed`, `OSError`.
    """
    service, plan, engine = pending["service"], pending["begun"]["plan"], pending["begun"]["engine"]
    # A host with podman starts what is recorded: see start_at_boot. Not `unless-stopped`: an engine that was killed takes what it finds
    # running, when it begins again, for stopped by hand. The new one first: at no moment is there none that would come back.
    if engine == "docker":
        step.run(["docker", "update", "--restart=always", plan["container"]], check_rc=True)
        if replaced := id_of_replaced(pending):
            step.run(["docker", "update", "--restart=no", replaced])
    forget_second(service, plan["colour"])
    require_serving(engine, plan["container"], service, "is recorded as live, and does not run or gets no requests")


def id_of_replaced(pending):
    "The container that served before; empty where there was none or it is gone."
    return (pending["begun"]["plan"]["old"] or {}).get("id", "")


def stop_replaced(pending):
    """Let the container that a recorded deployment replaced finish its requests, and stop it, unless it still answers for the new one.

    It goes by its id, and no container with this id will serve again: so others may deploy in the meantime.
    """
    wait_for_end(pending["drain"], pending["drain_seconds"] + 5)
    engine, replaced, live = pending["begun"]["engine"], id_of_replaced(pending), served(pending["service"])
    if not replaced or running_at(engine, pending["begun"]["plan"]["container"]) not in live:
        return
    if running_at(engine, replaced) not in live:
        said(engine, "stop", "--time", str(pending["stop_seconds"]), replaced)


def finish(pending, step):
    "Retire what a recorded deployment replaced. Raises `Failed`, `Lost`, `OSError`."
    service, plan, engine = pending["service"], pending["begun"]["plan"], pending["begun"]["engine"]
    folder = os.path.join(pending["home"], service)
    settle(pending, step)
    stop_replaced(pending)
    seen = look_at_host(pending["home"], service, engine, step.run)
    gone = prunable(seen, service, state_of(folder)["kept"])
    retired = {
        "drain": pending["drain"],
        "drain_seconds": pending["drain_seconds"],
        "containers": [each for one in gone for each in one["containers"]],
        "images": [one["tag"] for one in gone if one["tag"]],
        "releases": [one["id"] for one in gone],
    }
    retire(engine, service, folder, retired, step)
    require_serving(engine, plan["container"], service, "is recorded as live, and does not run or gets no requests")
    clear_pending(service, folder, pending["deployment"])


def retire(engine, service, folder, gone, step):
    """Remove what is no longer needed. Raises `Lost`.

    `gone`: drain (processes of the proxy that still serve from one of the containers) and drain_seconds, and what to remove:
    containers, images, releases.
    """
    # Whatever the proxy still owes a container ends by its own hard stop, and then the container may go.
    wait_for_end(gone["drain"], gone["drain_seconds"] + 5)
    step.fence()
    live = served(service)
    unused = [each for each in gone["containers"] if running_at(engine, each) not in live]
    if unused:
        said(*removal(engine, *unused))
    for image in gone["images"]:
        said(engine, "image", "rm", image)
    for release in gone["releases"]:
        shutil.rmtree(os.path.join(folder, "releases", release), ignore_errors=True)


def require_serving(engine, container, service, doing):
    "Raises `Failed` unless the container runs and the proxy sends the requests to it first."
    if running_at(engine, container) not in served(service):
        why = doing if find(engine) else f"cannot be looked at, for {engine} does not answer there: see its log (journalctl -u {engine})"
        raise Failed(f"{container} {why}")


def last_lines(engine, container):
    "What a container has said last."
    return said(engine, "logs", "--tail", "20", container)


def said(*words):
    "What a command says that may fail."
    try:
        done = complete(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except Failed as hangs:
        return str(hangs)
    return done.stdout.decode("utf-8", "replace").strip()


def inspected(engine, container, what):
    words = [engine, "container", "inspect", "-f", what, container]
    done = complete(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.decode().strip()


PORT = '{{(index (index .HostConfig.PortBindings "8000/tcp") 0).HostPort}}'


def running_at(engine, container):
    "The port of this host at which a container answers; 0 for one that does not run."
    running, _, bound = inspected(engine, container, "{{.State.Running}} " + PORT).partition(" ")
    return int(bound) if running == "true" and bound.isdigit() else 0


def served(service):
    "The ports to which the proxy sends the requests of a service."
    return {server["port"] for server in servers(service)[:1]}
