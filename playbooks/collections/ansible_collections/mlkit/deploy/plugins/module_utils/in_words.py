"""What services, hosts and deployments are called, for all who show them: the playbooks' own lines and mlkit's tables.

    health(live) -> word                        of a service on a host, one of HEALTH
    hosts_differ(running, own) -> sentences     services that are not the same on all hosts
    journal_line(entry, hosts) -> line          of a deployment
    little_room(free) -> sentences              disks of a host that are nearly full
"""

NO_ENGINE = "no container engine answers there, so nothing is known of its services"
HEALTH = {  # word of a table → words of a line
    "nothing live": "NOTHING LIVE: the proxy leads nowhere",
    "down": "DOWN: its container does not run",
    "not ready": "NOT READY: the container does not answer",
    "out": "OUT of the balancer",
    "not reached": "NOT REACHED: the container is ready, but the proxy does not lead to it",
    "ready": "ready",
}


def health(live):
    "`live` is what service_info says of the container that gets the requests, or None."
    if not live:
        return "nothing live"
    if not live["running"]:
        return "down"
    if not live["model"]:
        return "not ready"
    if live.get("out"):
        return "out"
    return "ready" if live["model_through_proxy"] == live["model"] else "not reached"


def hosts_differ(running, own=""):
    """A sentence for each service that is not the same on all hosts; `running` is the release by service, by host.

    That a host lacks a service counts for `own`: others on the same hosts may have a smaller inventory.
    """
    found = {}
    for host, releases in running.items():
        for name, release in {**({own: "nothing"} if own else {}), **releases}.items():
            found.setdefault(name, {}).setdefault(str(release), []).append(host)
    return [
        f"{name}: the hosts differ: " + "; ".join(f"{', '.join(hosts)}: {release}" for release, hosts in sorted(on.items()))
        for name, on in sorted(found.items())
        if len(on) > 1
    ]


def journal_line(entry, hosts=()):
    "What a journal says of one deployment; of a line that somebody has changed, whatever is left."
    parts = [f"{entry.get('when', '?')!s:20}", f"{entry.get('outcome', '?')!s:11}", entry.get("release", "-"), ",".join(hosts)]
    parts += [f"by {entry.get('by', '?')}", f"{entry.get('seconds', '-')} s", entry.get("signed"), entry.get("reason")]
    return "  ".join(str(part) for part in parts if part)


LITTLE = 500e6  # bytes: less than a small image takes while it is loaded, for then its layers are there twice


def little_room(free):
    "`free`: bytes by folder, as service_info says. Folders with as many free bytes are on one disk."
    places = {}
    for place, left in free.items():
        places.setdefault(left, []).append(place)
    return [
        f"little room: {left / 1e6:.0f} MB are free for {' and '.join(sorted(on))}, and a deployment or the log of predictions may"
        " find the disk full; free some there, or keep fewer releases (service_keep_releases)"
        for left, on in sorted(places.items())
        if left < LITTLE
    ]
