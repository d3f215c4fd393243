"""Preflight: check tools, disk, memory, model and configuration before anything runs."""

from __future__ import annotations

import os
import shutil

from ... import image
from ...config.configuration import resolve
from ...engine.model import Model, demo_model_path
from ...errors import Error, NotFound
from ...evidence.gates import failed, inconclusive, passed
from ...evidence.stats import scipy
from ..context import Context
from ..results import StageResult

_LEAST_DISK = 256 << 20


def run(context: Context) -> StageResult:
    """Report each problem with cause, hint and fallback."""
    problems: list[dict[str, str]] = []
    refused = False

    def lacks(cause: str, hint: str, fallback: str) -> None:
        problems.append({"cause": cause, "hint": hint, "fallback": fallback})

    model = context.model or demo_model_path()
    shape: dict[str, int] = {}
    try:
        with Model.load(model, vocab_only=True) as loaded:
            shape = {"width": loaded.info.n_embd, "layers": loaded.info.n_layer}
    except Error as error:
        refused = True
        lacks(f"model: {error}", "see flyball info", "without --model the bundled model is used")
    try:
        resolve(context.config)
    except Error as error:
        refused = True
        lacks(f"configuration: {error}", "correct the line", "without --config the defaults are used")
    n_bytes = model.stat().st_size if model.is_file() else 0
    if context.target == "qemu":
        for what, why in image.preflight(context.folder, n_bytes):
            lacks(f"{what} {why}", "make image installs what is missing", "--target host does not need it")
    else:
        try:
            image.beside_python("flyball-repl")
        except NotFound as error:
            lacks(str(error), "reinstall the package", "none")
    try:
        scipy("stats")
    except NotFound as error:
        lacks(str(error), "pip install 'flyball[reliability]'", "none")
    free = shutil.disk_usage(context.folder).free
    if free < _LEAST_DISK:
        lacks(f"{context.root} has {free >> 20} MiB free", "free some space", "use another folder by --artifacts")
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE")
    if available < 3 * n_bytes:
        lacks(
            f"{available >> 20} MiB of memory are free, the model takes {3 * n_bytes >> 20}",
            "end other programs",
            "use a smaller model by --model",
        )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") >> 20
    values = {"problems": problems, "model": str(model), "shape": shape, "memory_mb": memory}
    if not problems:
        return StageResult("preflight", passed("PREFLIGHT_READY", "all requirements are met"), values)
    say = failed if refused else inconclusive
    reason = "PREFLIGHT_REFUSED" if refused else "PREFLIGHT_MISSING"
    causes = "; ".join(problem["cause"] for problem in problems)
    return StageResult("preflight", say(reason, causes, problems[0]["hint"]), values)
