"Packaging: the metadata comes from settings.ini, so that it is written once."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
settings = ConfigParser(interpolation=None)
settings.read(ROOT / "settings.ini", encoding="utf-8")
package = settings["package"]


def lines(key):
    return [line for line in package.get(key, "").splitlines() if line.strip()]


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
    include_package_data=True,
    install_requires=lines("requires"),
    extras_require={"dev": lines("dev_requires")},
    entry_points={"console_scripts": ["mlkit=mlkit.cli:main"]},
)
