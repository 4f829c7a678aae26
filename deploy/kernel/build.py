"""Builds forest.c for x86-64 and arm64 with zig from the package index: the same bytes on any machine.

    python deploy/kernel/build.py [FOLDER]     default: beside forest.c

zig is installed into build/zig once (100 MB to download), pinned by its hashes; nothing else of it stays.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "mlkit/flavors/forest/forest.c"
ZIG = ROOT / "build/zig"
MACHINES = ("x86_64", "aarch64")
FLAGS = "-std=c11 -Wall -Wextra -Werror -O3 -ffp-contract=off -fno-sanitize=all -shared -fPIC -s"


def zig() -> list[str]:
    "The command zig, installed by its lock where it is not there yet."
    lock = (HERE / "requirements.lock").read_bytes()
    here = ZIG / hashlib.sha256(lock).hexdigest()[:12]
    program = here / "ziglang" / "zig"
    if not program.exists():
        command = ["uv", "pip", "install", "-q", "--target", str(here), "--require-hashes", "--no-deps"]
        subprocess.run([*command, "-r", str(HERE / "requirements.lock")], check=True)
    return [str(program)]


def build(folder: Path) -> None:
    "Put forest.<machine>.so of each machine into `folder`."
    folder.mkdir(parents=True, exist_ok=True)
    digest = f"sha256:{hashlib.sha256(SOURCE.read_bytes()).hexdigest()}"
    caches = {f"ZIG_{name}_CACHE_DIR": str(ZIG / "cache") for name in ("LOCAL", "GLOBAL")}
    for machine in MACHINES:
        target = ["-target", f"{machine}-linux-gnu.2.28", f'-DFOREST_SOURCE="{digest}"']
        built = (folder / f"forest.{machine}.so").resolve()
        # By its bare name, from its own folder: no path of this machine gets into the file.
        subprocess.run(
            [*zig(), "cc", *target, *FLAGS.split(), "-o", str(built), SOURCE.name, "-lm"],
            check=True,
            cwd=SOURCE.parent,
            env=os.environ | caches,
        )
        built.chmod(0o644)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE.parent)
