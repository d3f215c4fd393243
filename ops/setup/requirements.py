"""Print the requirements of one kind from pyproject.toml, one a line: `build`, or the name of an extra."""

import sys
import tomllib
from pathlib import Path


def requirements(kind: str) -> list[str]:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    if kind != "build":
        return list(project["project"]["optional-dependencies"][kind])
    tools = project["tool"]["scikit-build"]
    return [*project["build-system"]["requires"], *(name + tools[name]["version"] for name in ("cmake", "ninja"))]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1])))
