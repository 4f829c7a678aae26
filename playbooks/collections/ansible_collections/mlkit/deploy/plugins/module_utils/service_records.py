"""What a service's folder on a host says: its state, and the releases that are kept there.

    state_of(folder) -> state or None       what the last deployment recorded
    recorded(folder) -> id                  of the deployment that the state names
    releases_of(folder) -> by id            what the release.json of each kept release says

`Failed` says what this mlkit cannot read, and what to do.
"""

import json
import os

from .failed import Failed

STATE = "mlkit.state/1"


def read_json(path):
    "What a JSON file says; None if there is none."
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Failed(
            f"{path} is not JSON: {error}. Put it back from a backup, or move it away and deploy again"
        ) from error


def state_of(folder):
    "What the service's last deployment recorded; None before the first."
    path = os.path.join(folder, "state.json")
    state = read_json(path)
    if state is not None and (not isinstance(state, dict) or state.get("format") != STATE):
        found = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise Failed(
            f"{path} has the format {found}, and this mlkit knows {STATE}: use the mlkit that deployed there last, or a newer one"
        )
    return state


def recorded(folder):
    "The id of the deployment that the state names; nothing for a state from before there were ids."
    return (state_of(folder) or {}).get("deployment", "")


def releases_of(folder):
    "The records of the kept releases, by id."
    kept = os.path.join(folder, "releases")
    names = sorted(os.listdir(kept)) if os.path.isdir(kept) else []
    found = {name: read_json(os.path.join(kept, name, "release.json")) for name in names}
    return {name: record for name, record in found.items() if record}
