"What runs, beside what the journal says should run."

LIVE = ("deployed", "rolled back")
REMOVED = "removed"


def last_live(entries):
    "The journal's last word on what should run; None if it has none, or if the service was removed."
    last = next((entry for entry in reversed(entries) if entry.get("outcome") in (*LIVE, REMOVED)), None)
    return None if last and last["outcome"] == REMOVED else last


def port_drift(here, wanted):
    "How the port that the inventory says, or none, the state's and those at which the proxy takes requests differ."
    state, listens = here["state"], here["listens"]
    if not state or not here["live"]:
        return []
    found, port = [], state["port"]
    if port not in listens:
        others = f", but at {', '.join(map(str, listens))}" if listens else ""
        found.append(f"the proxy does not take requests at port {port}, where it was deployed{others}")
    elif others := [each for each in listens if each != port]:
        found.append(f"the proxy also takes requests at port {', '.join(map(str, others))}, where it was not deployed")
    if wanted and int(wanted) != port:
        found.append(f"it is at port {port}, and the inventory says {wanted}: the next deploy moves it, and clients must know")
    return found


def drift(here, entries, problems):
    """What differs on one host for one service, a sentence each; nothing when all agree.

    `here` is what service_info says of the service, `entries` and `problems` are its journal's.
    """
    said, live, state = last_live(entries), here["live"], here["state"]
    found = ["journal: " + problem for problem in problems]
    if not said:
        return found + (["the journal does not know what runs"] if live else [])
    wanted = said["release"]
    if not live:
        return [*found, f"{wanted} should run, and the proxy leads nowhere"]
    if state is None or state["release"] != wanted:
        found.append(
            f"the state names {(state or {}).get('release')}, the journal {wanted}: a deployment was cut off"
        )
    if live["release"] != wanted:
        found.append(f"{live['release'] or 'a container of somebody else'} gets the requests, not {wanted}")
    elif live.get("image") and live["image"] != said["image"]:
        found.append(
            f"the container of {wanted} runs the image {live['image'][:19]}, not {said['image'][:19]}"
        )
    elif not live["running"]:
        found.append(f"the container of {wanted} does not run")
    elif live["model"] != said["model"]:
        found.append(f"{wanted} answers with the model {str(live['model'])[:19]}, not {said['model'][:19]}")
    elif live["model_through_proxy"] != live["model"] and not live.get("out"):
        found.append("the proxy does not lead to the live container")
    if live.get("second"):
        found.append("the proxy knows a second container: a deployment is going on or was cut off")
    return found
