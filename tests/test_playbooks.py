"The playbooks and roles keep the rules of ansible-lint's strictest profile, and each role says what it takes."

import os
import re
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
            "ANSIBLE_COLLECTIONS_PATH": str(
                root / "playbooks/collections"
            ),  # it looks for modules, not beside playbooks
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Profile 'production' was required, and it passed" in done.stderr


def test_the_readme_of_each_role_names_its_task_files_and_its_variables(root):
    sys.path.insert(0, str(root / "docs"))
    from role_readmes import ROLES, with_table

    for role in sorted(ROLES.iterdir()):
        text = (role / "README.md").read_text()
        assert text == with_table(role), "python docs/role_readmes.py"
        for link in re.findall(r"\]\(([^)#]+)", text):
            assert (role / link).exists(), link
    service = (ROLES / "service/README.md").read_text()
    files = {path.stem for path in (ROLES / "service/tasks").glob("*.yml")}
    assert files == {name for name in files if f"`{name}`" in service}
