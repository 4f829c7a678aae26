"The playbooks and roles keep the rules of ansible-lint's strictest profile."

import os
import subprocess
import sys
from pathlib import Path


def test_ansible_lint_finds_nothing_at_its_strictest_profile(root, tmp_path):
    programs = Path(sys.executable).parent  # it starts ansible-playbook for the syntax check
    done = subprocess.run(
        [programs / "ansible-lint", "--offline", "--strict", "--profile", "production", "playbooks"],
        cwd=root,
        env={
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stderr
