"""A new model on three hosts: how long, and how many bytes? Beside a playbook as one writes it in an afternoon.

    python bench/deploy/model_change.py [--rounds 3]      needs root and a container engine

Ours is timed from `mlkit deploy` to the moment when all hosts have switched, and to its end, and once more with nothing to change. The naive playbook saves the image, copies it,
loads it and restarts the container, host by host, without looking back. Rounds are interleaved; each gets new models.
"""

import argparse
import json
import subprocess
import sys
import tarfile
import time
from datetime import datetime
from pathlib import Path

from lab import ROOT, Lab, lab_of

SWITCH = "Lead the clients to the new container"
NAIVE = """
- hosts: hosts
  gather_facts: false
  serial: 1
  tasks:
    - name: Save the image
      ansible.builtin.command: docker save -o {archive} {tag}
      delegate_to: localhost
      become: false
      run_once: true
      vars: {{ansible_connection: local}}
    - name: Copy it
      ansible.builtin.copy: {{src: {archive}, dest: /root/naive.tar}}
    - name: Load it
      ansible.builtin.command: docker load -i /root/naive.tar
    - name: Restart the container
      ansible.builtin.shell: docker rm -f naive; docker run -d --name naive -p 8500:8000 {tag}
    - name: Wait until it is ready
      ansible.builtin.uri: {{url: "http://127.0.0.1:8500/readyz"}}
      register: answer
      until: answer.status == 200
      retries: 100
      delay: 0.2
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with lab_of(3) as lab:
        lab.deploy(lab.release(3))
        naive(lab, lab.release(4))
        rows = []
        for number in range(given.rounds):
            ours, theirs = lab.release(200, 10 + number), lab.release(200, 25 + number)
            switched, whole = timed(lab, ours)
            began = time.monotonic()
            lab.deploy(ours)
            unchanged = time.monotonic() - began
            rows.append((switched, whole, unchanged, naive(lab, theirs), *bytes_of(lab, ours)))
            print(
                "switched {:.1f} s, done {:.1f} s; again {:.1f} s; naive {:.1f} s; layer {:,} bytes, bundle {:,}".format(
                    *rows[-1]
                )
            )
    middle = [sorted(column)[len(rows) // 2] for column in zip(*rows, strict=True)]
    switched, whole, unchanged, other, layer, bundle = middle
    judged = [
        ("all switched, seconds", switched, "<", 6),
        ("whole command, seconds", whole, "<", 8),
        ("naive playbook ÷ mlkit", other / whole, ">", 2),
        ("nothing to change, seconds", unchanged, "<", 3),
        ("bytes of the model's layer ÷ bundle", layer / bundle, "<", 1.2),
    ]
    for name, value, sign, limit in judged:
        kept = value < limit if sign == "<" else value > limit
        print(f"{name:40} {value:8.2f}  {sign} {limit}  {'kept' if kept else 'MISSED'}")
    return 0


def timed(lab: Lab, release: str) -> tuple[float, float]:
    "Seconds until the last host has switched, and until the command ends."
    began, wall = time.monotonic(), time.time()
    events = lab.deploy(release)
    last = max(event["when"] for event in events if event.get("task") == SWITCH)
    at = datetime.fromisoformat(last.replace("Z", "+00:00")).timestamp()
    return at - wall, time.monotonic() - began


def naive(lab: Lab, release: str) -> float:
    "Seconds of the naive playbook."
    record = json.loads((lab.folder / ".mlkit/releases" / release / "release.json").read_text())
    playbook = lab.folder / "naive.yml"
    playbook.write_text(NAIVE.format(archive=lab.folder / "naive.tar", tag=record["image"]["tag"]))
    program = Path(sys.executable).parent / "ansible-playbook"
    began = time.monotonic()
    subprocess.run(
        [program, "-i", lab.fleet.inventory, playbook], check=True, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    return time.monotonic() - began


def bytes_of(lab: Lab, release: str) -> tuple[int, int]:
    "The bytes of the release's last layer, which is all that crosses the wire, and of the bundle's files in it."
    folder = lab.folder / ".mlkit/releases" / release
    layer = json.loads((folder / "release.json").read_text())["image"]["layers"][-1]
    with tarfile.open(folder / "image.tar") as image:
        name = f"{layer['digest'][7:]}.tar"
        with tarfile.open(fileobj=image.extractfile(name)) as files:
            return layer["bytes"], sum(member.size for member in files if member.isreg())


if __name__ == "__main__":
    sys.exit(main())
