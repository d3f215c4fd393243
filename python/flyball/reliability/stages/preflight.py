"""Preflight: check tools, disk, memory, model and configuration before anything runs."""

from __future__ import annotations

from ... import _core, files, image
from ...config.configuration import resolve
from ...engine.model import Model, demo_model_path
from ...errors import Error, NotFound
from ...evidence.gates import failed, inconclusive, passed
from ...evidence.stats import scipy
from ..context import Context
from ..results import StageResult

_LEAST_DISK = 256 << 20
_MODELS = 3  # in memory at once: mapped, prepared, and prepared again to measure its loading


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
        for what, why in image.preflight(
            context.folder, n_bytes, None if refused else model, image.Machine().memory_mb
        ):
            lacks(f"{what} {why}", "make image installs missing tools", "--target host does not need it")
    else:
        try:
            image.beside_python("flyball-repl")
        except NotFound as error:
            lacks(str(error), "reinstall the package", "none")
    try:
        scipy("stats")
    except NotFound as error:
        lacks(str(error), "pip install 'flyball[reliability]'", "none")
    disk = _LEAST_DISK + (3 * n_bytes if context.target == "qemu" else 0)  # an image, and then its files
    if lacking := files.lacks_room(context.folder, disk):
        lacks(f"{context.folder} {lacking}", "make room, or raise the quota", "use another folder by --artifacts")
    available, total = _core.memory()
    if available is not None and available < _MODELS * n_bytes:
        lacks(
            f"memory: {available >> 20} MiB are available, a run with {model} needs {_MODELS * n_bytes >> 20}",
            "end other programs, or raise the limit of the control group",
            "use a smaller model by --model",
        )
    values = {"problems": problems, "model": str(model), "shape": shape, "memory_mb": (total or 0) >> 20}
    if not problems:
        return StageResult("preflight", passed("PREFLIGHT_READY", "all requirements are met"), values)
    say = failed if refused else inconclusive
    reason = "PREFLIGHT_REFUSED" if refused else "PREFLIGHT_MISSING"
    causes = "; ".join(problem["cause"] for problem in problems)
    return StageResult("preflight", say(reason, causes, problems[0]["hint"]), values)
