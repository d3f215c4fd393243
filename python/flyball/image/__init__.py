"""Boot images: make and run them."""

from .contents import BOOT_PATH
from .machine import WENT_WRONG, Ended, Machine, interact, native, run
from .tools import Wanting, beside_python, preflight, program_path
from .volume import build, check, extract

__all__ = [
    "BOOT_PATH",
    "WENT_WRONG",
    "Ended",
    "Machine",
    "Wanting",
    "beside_python",
    "build",
    "check",
    "extract",
    "interact",
    "native",
    "preflight",
    "program_path",
    "run",
]
