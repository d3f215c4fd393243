"""A model takes the memory of its file once, on the host and on bare metal: what is packed is given back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import flyball
from bench import make_model
from flyball import image
from flyball.image import contents
from flyball.image.tools import beside_python, program_path

MIB = 1 << 20
DEMO = flyball.demo_model_path()
SETTINGS = 'tune = "off"\nisa = "scalar"\ncontext = 256\nmax_tokens = 1\nprefix_cache_mb = 0\n'
MOST = 1.25  # times the file, above what a small model needs; twice is what it takes if nothing is given back


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 71 MiB, in blocks of several types."""
    path = tmp_path_factory.mktemp("large") / "large.gguf"
    make_model.main(["smollm-135m", "Q4_K_M", str(path), "--vocab", str(DEMO)])
    return path


def share(peak: int, peak_of_demo: int, model: Path) -> float:
    """Peak memory above the small model's, in sizes of the large file above the small one."""
    return (peak - peak_of_demo) / (model.stat().st_size - DEMO.stat().st_size)


def test_the_host_keeps_the_weights_alone(large: Path) -> None:
    """Also while it hashes the file and looks up rows of the embedding."""
    script = """
        import sys, flyball
        def status(name):
            line = next(line for line in open("/proc/self/status") if line.startswith(name))
            return int(line.split()[1]) * 1024
        before = status("RssFile")
        with flyball.Model.load(sys.argv[1], isa="scalar", context=256) as model:
            model.info.fingerprint
            peak = status("VmHWM")
            model.generate(list(range(100, 200)), 1, seed=1)
            print(peak, status("RssFile") - before)
    """

    def measure(model: Path) -> list[int]:
        command = [sys.executable, "-c", textwrap.dedent(script), str(model)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [int(word) for word in said.split()]

    (demo, _), (peak, mapped) = measure(DEMO), measure(large)
    assert 0.9 < share(peak, demo, large) < MOST
    assert mapped < 16 * MIB


@pytest.mark.usefixtures("needs_tools")
def test_bare_metal_uses_the_file_s_pages_again(large: Path, tmp_path: Path) -> None:
    """The very program as a process: the peak that the kernel counted."""

    def measure(model: Path) -> int:
        folder = tmp_path / model.stem
        (folder / "models").mkdir(parents=True)
        shutil.copy(model, folder / "models")
        (folder / "flyball.toml").write_text(SETTINGS)
        command = [beside_python("flyball-native"), str(program_path()), str(folder), "1"]
        script = """
            import resource, subprocess, sys
            subprocess.run(sys.argv[1:], check=True)
            print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        """
        run = [sys.executable, "-c", textwrap.dedent(script), *command]
        done = subprocess.run(run, input="Hello\n/quit\n", capture_output=True, text=True, check=True)
        assert "[1 token" in done.stdout
        return int(done.stdout.split("peak ")[-1]) * 1024

    assert 0.9 < share(measure(large), measure(DEMO), large) < MOST


@pytest.mark.usefixtures("needs_tools")
def test_a_machine_with_room_for_one_copy_boots(large: Path, tmp_path: Path) -> None:
    """And as much as preflight asks for is enough."""
    settings = tmp_path / "settings.toml"
    settings.write_text(SETTINGS.replace("scalar", "swar"))
    path = tmp_path / "flyball.img"
    image.build(path, [large], settings)
    n_bytes = large.stat().st_size
    once = contents.memory_of(large, 256)
    assert once < contents.memory_of(DEMO, 256) + MOST * n_bytes
    ended = image.run(path, ["Hello"], image.Machine(memory_mb=once // MIB), timeout=240)
    assert ended.well, ended
    assert "[1 token" in ended.output
