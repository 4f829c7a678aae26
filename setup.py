"Packaging: the metadata comes from settings.ini, so that it is written once."

import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = [
    "Dockerfile",
    "playbooks",
    "deploy/image",
    "deploy/serve",
    "deploy/inventories",
]

settings = ConfigParser(interpolation=None)
settings.read(ROOT / "settings.ini", encoding="utf-8")
package = settings["package"]


def lines(key):
    return [line for line in package.get(key, "").splitlines() if line.strip()]


EXTRAS = {name: lines(f"{name}_requires") for name in ("train", "lab", "deploy", "sweep", "s3", "web", "excel")}
everything = [each for extra in EXTRAS.values() for each in extra]


class BuildWithShipped(build_py):
    "Puts what stands beside the library in a checkout inside the wheel: see mlkit.settings.shipped."

    def run(self):
        super().run()
        if self.editable_mode:
            return
        for name in SHIPPED:
            source, dest = ROOT / name, Path(self.build_lib, package["lib_path"], "shipped", name)
            dest.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(
                    source, dest, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
                )
            else:
                shutil.copy2(source, dest)


setup(
    name=package["name"],
    version=package["version"],
    description=package["description"],
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=package["author"],
    license=package["license"],
    python_requires=f">={package['min_python']}",
    packages=find_packages(include=[package["lib_path"], f"{package['lib_path']}.*"]),
    package_data={
        package["lib_path"]: [
            "py.typed",
            "flavors/forest/forest.*",
            "validation/*.html",
            "validation/*.css",
            "new/templates/*",
            "serve/pages/templates/*",
            "serve/pages/static/*",
            "serve/pages/static/swagger/*",
        ]
    },
    install_requires=lines("requires"),
    extras_require=EXTRAS | {"all": everything, "dev": everything + lines("dev_requires")},
    entry_points={"console_scripts": ["mlkit=mlkit.cli.main:main"]},
    cmdclass={"build_py": BuildWithShipped},
)
