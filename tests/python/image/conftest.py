"""What tests of boot images need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from flyball import image


@pytest.fixture(scope="session")
def needs_tools() -> None:
    """Without the tools nothing can be told; in CI that is a failure."""
    needed = [name for name in ("qemu-system-x86_64", "mcopy") if shutil.which(name) is None]
    if not (Path(image.__file__).parents[1] / "data" / "flyball.efi").exists():
        needed.append("flyball.efi")
    if needed:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"missing: {', '.join(needed)}")
