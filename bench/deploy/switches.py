"""Deployments and rollbacks in a row on three hosts under load: is one request lost, and what does a switch cost?

    python bench/deploy/switches.py [--deploys 30] [--rollbacks 10]      needs root, a container engine and wrk

Each host gets wrk and a keep-alive client, which never ask twice, through its proxy. A switch is the second around the
reload of a host's proxy; its p99 is set beside the p99 of the time in which nobody deploys.
"""

import argparse
import sys
import time
from datetime import datetime

from lab import lab_of, load_on, percentile

SWITCH = "Lead the clients to the new container"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deploys", type=int, default=30)
    parser.add_argument("--rollbacks", type=int, default=10)
    given = parser.parse_args()
    with lab_of(3) as lab:
        releases = [lab.release(3), lab.release(5)]
        lab.deploy(releases[0])
        took, switches = {"deploy": [], "rollback": []}, []
        plan = plan_of(given.deploys, given.rollbacks)
        with load_on(lab, seconds=3600) as (clients, told):
            time.sleep(10)
            busy_from = time.time()
            live = releases[0]
            for action in plan:
                began = time.monotonic()
                if action == "deploy":
                    live = next(each for each in releases if each != live)
                    events = lab.deploy(live)
                else:
                    events = lab.rollback()
                    live = next(each for each in releases if each != live)
                took[action].append(time.monotonic() - began)
                switches += [moment(event) for event in events if event.get("task") == SWITCH]
                if lab.releases_live() != {live}:
                    sys.exit(f"after {action} the fleet serves {lab.releases_live()}, expected {live}")
            busy_to = time.time()
            time.sleep(10)
        return report(took, switches, (busy_from, busy_to), clients, told)


def plan_of(deploys: int, rollbacks: int) -> list[str]:
    "Rollbacks spread among the deployments, each after one that it can go back over."
    plan = ["deploy"] * deploys
    for number in range(rollbacks):
        plan.insert((number + 1) * (deploys // rollbacks) + number if rollbacks else 0, "rollback")
    return plan


def moment(event: dict) -> float:
    return datetime.fromisoformat(event["when"].replace("Z", "+00:00")).timestamp()


def report(took, switches, busy, clients, told) -> int:
    answers = [answer for client in clients for answer in client.answers]
    failures = [answer.failure for answer in answers if answer.failure]
    wrk = {key: sum(each[key] for each in told) for key in ("requests", "refused", "broken")}
    quiet = [a.seconds for a in answers if not busy[0] <= a.when <= busy[1]]
    during = [a.seconds for a in answers if busy[0] <= a.when <= busy[1]]
    near = [a.seconds for a in answers if any(abs(a.when - at) <= 1 for at in switches)]
    for action, seconds in took.items():
        if seconds:
            print(
                f"{len(seconds)} {action}s: median {sorted(seconds)[len(seconds) // 2]:.1f} s, longest {max(seconds):.1f} s"
            )
    print(f"keep-alive clients: {len(answers):,} requests, {len(failures)} failed {failures[:3] or ''}")
    print(f"wrk: {wrk['requests']:,} requests, {wrk['refused']} refused, {wrk['broken']} broken")
    for name, values in (
        ("nobody deploys", quiet),
        ("deployments", during),
        ("a second around a switch", near),
    ):
        print(
            f"p99 {name}: {percentile(values, 0.99):.1f} ms (p50 {percentile(values, 0.5):.1f}, most {percentile(values, 1):.0f})"
        )
    passed = not failures and not wrk["refused"] and not wrk["broken"]
    print("PASSED" if passed else "FAILED: a request was lost")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
