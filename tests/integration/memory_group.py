"A group of processes with a limit of memory, as a container is one."

import os
import subprocess
from secrets import token_hex

from eventually import eventually

MEGABYTE = 1024 * 1024


class Group:
    "Processes that have so much memory together, and no more."

    def __init__(self, size):
        self.folder = f"/sys/fs/cgroup/memory/mlkit-test-{token_hex(4)}"
        os.makedirs(self.folder, exist_ok=True)
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            if os.path.exists(f"{self.folder}/{name}"):
                with open(f"{self.folder}/{name}", "w") as file:
                    file.write(str(size))
        # The server sees its own group, as in a container.
        mount = f"mount --bind {self.folder} /sys/fs/cgroup/memory"
        enter = f"echo $$ >{self.folder}/cgroup.procs"
        self.before = ["unshare", "-m", "sh", "-c", f'{enter} && {mount} && exec "$@"', "sh"]

    def killed(self):
        with open(f"{self.folder}/memory.oom_control") as file:
            return int(dict(line.split() for line in file)["oom_kill"])

    def remove(self):
        eventually(lambda: subprocess.run(["rmdir", self.folder]).returncode == 0)
