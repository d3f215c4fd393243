"""The boot image in QEMU: the same core, the same REPL, the same bits as on the host."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

import flyball
from flyball import _core, image, journal
from flyball.cli import main
from flyball.image import tools
from flyball.journal.replay import replay
from tests.python.image import image_matrix
from tests.reference.adapters import write_adapter
from tests.reference.models import write_model

pytestmark = pytest.mark.usefixtures("needs_tools")


@pytest.fixture(scope="module")
def model() -> Iterator[flyball.Model]:
    with flyball.Model.load(flyball.demo_model_path()) as loaded:
        yield loaded


def build(folder: Path, config: str, files: list[Path] | None = None) -> Path:
    settings = folder / "settings.toml"
    settings.write_text(config)
    path = folder / "flyball.img"
    image.build(path, config=settings, files=files or [])
    return path


def test_a_session_in_qemu_leaves_what_the_host_can_check(
    tmp_path: Path, model: flyball.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two processors with AVX2: a conversation, a consult, a receipt each way, files that the host reads."""
    made = model.chat().send("What can you do?", 16, temperature=0.8, seed=3)
    host = made.receipt.save(tmp_path / "host.json")
    session = Path(__file__).parents[2] / "boot/session.txt"
    script = ["/journal 9", "/verify host.json", "/max_tokens 16", *session.read_text().splitlines()]
    path = build(tmp_path, 'journal = "journal.jsonl"\nlog = "log.txt"\ntune = "off"\nsampling.seed = 3\n', [host])
    ended = image.run(path, script, image.Machine(processors=2))
    assert ended.well, ended
    out = ended.output
    assert "on 2 threads" in out
    assert "threads       2 of 2 processors" in out
    assert f"digest {made.digest[:12]}" in out  # the first answer is the host's
    assert "reason_id=MODEL_ISA_CHOSEN" in out
    assert "SESSION_CONSULTED" in out
    assert "GUARD_TURN_STOP" in out
    assert image.check(path) == []
    left = {file.name: file for file in image.extract(path, tmp_path / "out")}
    assert flyball.verify(left["receipt.json"], model=model)
    assert main(["journal", "verify", str(left["journal.jsonl"]), "--log", str(left["log.txt"])]) == 0
    assert "generated_tokens" in json.loads(left["metrics.json"].read_text())["last"]
    assert replay(journal.read(left["journal.jsonl"])).verified
    assert main(["image", "check", str(path)]) == 0
    assert "journal.jsonl" in capsys.readouterr().out


def test_a_processor_without_avx_has_the_same_bits(tmp_path: Path, model: flyball.Model) -> None:
    made = model.generate("Once upon a time", 8, seed=1)
    host = made.receipt.save(tmp_path / "host.json")
    script = ["/cpu", "/verify host.json", "/raw on", "/max_tokens 8", "Once upon a time", "/receipt guest.json"]
    path = build(tmp_path, 'tune = "off"\nsampling.seed = 1\n', [host])
    ended = image.run(path, script, image.Machine(cpu="qemu64"))
    assert ended.well, ended
    assert "(this processor can run: swar scalar)" in ended.output
    assert f"digest {made.digest[:12]}" in ended.output
    [guest] = image.extract(path, tmp_path, ["guest.json"])
    assert flyball.verify(guest, model=model)


def test_what_is_wrong_is_said_at_the_prompt(tmp_path: Path) -> None:
    """A bad configuration and a bad model cost no boot; what fails in a script is told by the exit code."""
    path = build(tmp_path, "")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(flyball.demo_model_path().read_bytes()[:5000])
    settings = tmp_path / "settings.toml"
    settings.write_text("threads = 1\nthreads = 2\n")
    for file, name in ((bad, "models/flyball-demo.gguf"), (settings, "flyball.toml")):  # after build has checked them
        tools.run(["mcopy", "-o", "-i", str(path), str(file), f"::/{name}"], path)
    ended = image.run(path, ["Hello"])
    assert not ended.well
    assert ended.why == "a command or a prompt of the script failed"
    assert "flyball.toml:2: threads: is already set in line 1; the defaults hold" in ended.output
    assert "cause:    " in ended.output
    assert "no model: commands work" in ended.output


@pytest.mark.soak
def test_a_power_cut_loses_nothing_that_was_finished(tmp_path: Path, model: flyball.Model) -> None:
    """QEMU is killed while files are written: what a command had finished is whole, and the next boot goes on."""
    config = """
journal = "journal.jsonl"
journal_max_kb = 2
journal_files = 2
tune = "off"
isa = "swar"
policy_file = "policy.toml"
policy.auto_apply = "aggressive"
"""
    script = ["/max_tokens 4", "Hello"]
    for n in range(1, 2000):
        script += [f"/receipt {n}.json", f"/max_tokens {64 + n % 64}", "/save session.bin"]
    random = Random(5)
    for cut in range(int(os.environ.get("FLYBALL_CUTS", "2"))):
        path = build(tmp_path, config)
        ended = image.run(path, script, timeout=5 + 3 * random.random())
        assert not ended.well
        n_finished = ended.output.count("wrote the receipt of the last answer to ")
        image.check(path, repair=True)
        assert image.check(path) == []
        left = {file.name: file for file in image.extract(path, tmp_path / f"out{cut}")}
        finished = [left[f"{n}.json"] for n in range(1, n_finished + 1)]
        assert all(flyball.verify(file, model=model) for file in finished)
        again = image.run(path, ["/policy", "Hello"])
        assert again.well, again
        image.extract(path, tmp_path / f"again{cut}")
        assert main(["journal", "verify", str(tmp_path / f"again{cut}" / "journal.jsonl")]) == 0


def test_a_full_volume_costs_no_answer_and_no_line(tmp_path: Path) -> None:
    """It fills up while the journal is written: answers go on, and what the journal has is whole lines."""
    path = build(tmp_path, 'tune = "off"\nisa = "swar"\n')
    [free] = re.findall(r"([\d ]+) bytes free", tools.run(["mdir", "-i", str(path), "::/"], path))
    filler = tmp_path / "filler"  # leaves less than the 50 KiB that the journal would take
    filler.write_bytes(bytes(int(free.replace(" ", "")) - (48 << 10)))
    tools.run(["mcopy", "-i", str(path), str(filler), "::/filler"], path)
    ended = image.run(path, ["/max_tokens 2", *["/clear", "Hello"] * 40, "/metrics"])
    assert not ended.well
    # Which file meets the end first, log, journal or head, is a matter of clusters. The journal's is told once.
    told_once = re.findall(
        r"journal\.jsonl(?:: cannot append to|\.head: cannot write): the volume is full", ended.output
    )
    assert len(told_once) == 1
    assert re.search(r'"generations_completed": ?40\b', ended.output)
    assert image.check(path) == []
    [told, _] = image.extract(path, tmp_path / "out", ["journal.jsonl", "journal.jsonl.head"])
    kept = journal.check(told)
    assert kept.verified
    assert kept.torn == 0
    assert 0 < kept.n_lines < 40 * 4


def test_the_journal_rotates_and_goes_on_at_the_next_boot(tmp_path: Path) -> None:
    path = build(tmp_path, 'tune = "off"\nisa = "swar"\njournal_max_kb = 4\njournal_files = 3\n')
    n_lines, oldest = 0, 0
    for boot in ("first", "second"):
        ended = image.run(path, ["/max_tokens 2", *["/clear", "Hello"] * 12])
        assert ended.well, ended
        assert image.check(path) == []
        out = tmp_path / boot
        image.extract(path, out)
        told = out / "journal.jsonl"
        assert main(["journal", "verify", str(told), "--log", str(out / "log.txt")]) == 0
        report = journal.check(told)
        numbers = [int(file.suffix[1:]) for file in report.files if file != told]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
        assert all(file.stat().st_size < 4 * 1024 + 8 * 1024 for file in report.files)
        assert report.head.n_lines > n_lines + 12 * 3
        assert numbers[0] > oldest
        n_lines, oldest = report.head.n_lines, numbers[0]
        report.files[0].unlink()
        assert main(["journal", "verify", str(told)]) == 1


def test_a_volume_that_is_read_only_leaves_its_log_on_the_serial_line(tmp_path: Path) -> None:
    path = build(tmp_path, 'tune = "off"\nisa = "swar"\n')
    before = path.read_bytes()
    ended = image.run(path, ["/max_tokens 2", "Hello"], image.Machine(read_only=True))
    assert not ended.well
    assert ended.output.count("journal.jsonl: cannot append to: the volume is write-protected") == 1
    assert "\x1b" not in ended.output
    assert "[startup] model_load reason_id=MODEL_LOADED seq=" in ended.output
    assert "[session] turn_end reason_id=SESSION_TURN_ENDED seq=" in ended.output
    assert path.read_bytes() == before


def test_a_machine_that_lost_its_power_while_it_tried_a_change_boots_without_it(tmp_path: Path) -> None:
    """Boots of the same volume: a change, a power cut before it has proven itself, the roll-back, a stable boot."""
    config = """
tune = "off"
isa = "swar"
policy.auto_apply = "aggressive"
policy.calm_turns = 1
"""
    path = build(tmp_path, config)
    stopped = ["/guard on", "/guard turn_ms 1", "Hello", "/guard off", "/consult mock reduce_answer", "/policy"]
    shown: list[str] = []

    def cut_power(piece: str) -> None:
        shown.append(piece)
        if "no start has proven the last change" in "".join(shown):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        image.run(path, stopped, on_output=cut_power)
    image.check(path, repair=True)
    second = image.run(path, ["/policy", "/max_tokens 4", "Hello", "/policy"])
    assert second.well, second
    assert "policy: POLICY_START_FAILED" in second.output
    assert "PLAN_ROLLED_BACK" in second.output
    assert "start 2, stable" in second.output
    left = image.extract(path, tmp_path, ["journal.jsonl", "policy.toml.history"])
    assert replay(journal.read(left[0])).verified
    assert json.loads(left[1].read_text())["starts"] == {
        "n": 2,
        "failed": 0,
        "running": False,
        "stable": True,
        "unproven": False,
    }


def test_an_image_for_a_stick_boots(tmp_path: Path) -> None:
    path = tmp_path / "stick.img"
    image.build(path, usb=True)
    assert path.read_bytes()[512:520] == b"EFI PART"
    ended = image.run(path, ["/raw on", "/max_tokens 2", "Once", "/receipt r.json"])
    assert ended.well, ended
    assert "r.json" in [file.name for file in image.extract(path, tmp_path)]


def volume(folder: Path, config: str = "") -> Path:
    """A folder as the program's volume, with the bundled model."""
    (folder / "models").mkdir()
    shutil.copy(flyball.demo_model_path(), folder / "models")
    (folder / "flyball.toml").write_text(config)
    return folder


def test_the_program_runs_as_a_process_with_the_same_bits(tmp_path: Path, model: flyball.Model) -> None:
    folder = volume(tmp_path, 'tune = "off"\nsampling.seed = 9\njournal = "journal.jsonl"\n')
    made = model.generate("Once upon a time", 40, seed=9)
    made.receipt.save(folder / "host.json")
    script = ["/verify host.json", "/raw on", "/max_tokens 40", "Once upon a time", "/receipt guest.json", "/journal 1"]
    for processors in (1, 3):
        ended = image.native(folder, script, processors)
        assert ended.well, ended
        assert f"digest {made.digest[:12]}" in ended.output
        assert flyball.verify(folder / "guest.json", model=model)
    assert main(["journal", "verify", str(folder / "journal.jsonl")]) == 0
    assert not image.native(folder, ["/load absent.gguf"]).well


def test_an_adapter_computes_the_same_bits(tmp_path: Path) -> None:
    """Beside the program, by command and by configuration; as a process and in QEMU."""
    path = write_model(tmp_path / "small.gguf", "llama", "Q8_0", n_ff=256).path
    adapter = write_adapter(tmp_path / "a.gguf", "llama", "F16", n_ff=256)
    model = flyball.Model.load(path, context=64)
    made = model.generate("a b c", 6, seed=11, adapter=model.load_adapter(adapter), adapter_scale=0.5)
    host = made.receipt.save(tmp_path / "host.json")
    config = 'model = "models/small.gguf"\ntune = "off"\ncontext = 64\nmax_tokens = 6\nsampling.seed = 11\n'
    script = ["/raw on", "/adapter a.gguf:0.5", "/verify host.json", "a b c", "/receipt guest.json"]

    folder = tmp_path / "volume"
    (folder / "models").mkdir(parents=True)
    for file, to in ((path, folder / "models"), (adapter, folder), (host, folder)):
        shutil.copy(file, to)
    (folder / "flyball.toml").write_text(config)
    ended = image.native(folder, script)
    assert ended.well, ended
    assert flyball.verify(folder / "guest.json", model, adapters=[adapter])

    settings = tmp_path / "settings.toml"
    settings.write_text(config + 'adapter = "b.gguf:0.5"\n')
    with pytest.raises(flyball.NotFound, match=r"adapter: b\.gguf is not on the image; add it with --file"):
        image.build(tmp_path / "flyball.img", [path], settings, [adapter, host])
    settings.write_text(config + 'adapter = "a.gguf:0.5"\n')
    image.build(tmp_path / "flyball.img", [path], settings, [adapter, host])
    ended = image.run(tmp_path / "flyball.img", [script[0], *script[2:]], image.Machine(processors=2))
    assert ended.well, ended
    [guest] = image.extract(tmp_path / "flyball.img", tmp_path / "out", ["guest.json"])
    assert flyball.verify(guest, model, adapters=[adapter])
    assert json.loads(guest.read_text())["digest"] == made.digest


def test_hybrids_mixtures_and_grids_verify_both_ways(tmp_path: Path) -> None:
    """Delta nets, Mamba-2 layers and experts, weights of one and two words of a grid, one after another in a boot: each
    receipt holds on the other side."""
    names = ["qwen35-Q4_K", "nemotron_h_moe-Q8_0", "llama-IQ3_XXS", "llama-IQ2_XXS"]
    assert image_matrix.compare(tmp_path, names, "max") == []


@pytest.mark.parametrize("program", [tools.program_path, lambda: _core.__file__], ids=["boot", "host"])
def test_no_gather_has_its_numbers_in_register_4(program: Callable[[], Path | str]) -> None:
    """Of AVX2's: emulators before QEMU 9.1 read elsewhere then, which faults or changes bits."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(program())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as disassembly:
        assert disassembly.stdout is not None
        lines = [line for line in disassembly.stdout if "gather" in line]
    numbers = [found[1] for line in lines if (found := re.search(r"gather\w+ +%[xy]mm\d+,.*,%([xy]mm\d+),\d\)", line))]
    assert len(numbers) > 100
    assert not {"xmm4", "ymm4"} & set(numbers)


@pytest.mark.parametrize("variant", ["qwen35moe", "lfm2", "granitehybrid"])
def test_a_hybrid_s_state_is_the_host_s(tmp_path: Path, variant: str) -> None:
    """As a process: it goes on from the middle of what it computed, saves what the host saves, and restores that."""
    path = write_model(tmp_path / "hybrid.gguf", variant, "Q8_0", n_ff=256).path
    model = flyball.Model.load(path, context=256)
    session = model.session()
    prompt = "a b c d e f g h i j k l m " * 3  # longer than the distance between snapshots of a state
    session.generate(prompt, 6, seed=11)
    session.save(tmp_path / "host.session")
    longer = model.generate(prompt + "x", 6, seed=11)

    folder = tmp_path / "volume"
    (folder / "models").mkdir(parents=True)
    shutil.copy(path, folder / "models")
    shutil.copy(tmp_path / "host.session", folder)
    (folder / "flyball.toml").write_text('tune = "off"\ncontext = 256\nmax_tokens = 6\nsampling.seed = 11\n')
    script = ["/raw on", prompt, "/save guest.session", prompt + "x", "/receipt after.json"]
    script += ["/clear", "/restore host.session", prompt + "x", "/receipt restored.json"]
    ended = image.native(folder, script)
    assert ended.well, ended
    assert (folder / "guest.session").read_bytes() == (folder / "host.session").read_bytes()
    for name in ("after", "restored"):
        receipt = json.loads((folder / f"{name}.json").read_text())
        assert receipt["digest"] == longer.digest
        assert receipt["metrics"]["cached_tokens"] >= 64


def test_a_journal_of_the_volume_that_cannot_go_on_is_set_aside(tmp_path: Path) -> None:
    """As a process: rotation, a damaged line, a head without its file; each time the answer is given and told."""
    folder = volume(tmp_path, 'tune = "off"\njournal_max_kb = 2\njournal_files = 2\n')
    told = folder / "journal.jsonl"
    script = ["/max_tokens 2", *["/clear", "Hello"] * 4]
    assert image.native(folder, script).well
    assert main(["journal", "verify", str(told), "--log", str(folder / "log.txt")]) == 0
    files = [file.name for file in journal.files_of(told)]
    assert len(files) > 2
    head = told.with_name("journal.jsonl.head")
    head.write_bytes(head.read_bytes().replace(b'"n_lines":', b'"n_lines":9'))
    for n in (1, 2):
        ended = image.native(folder, script[:3])
        assert ended.well, ended
        assert f"it was set aside as journal.jsonl.broken-{n}, and a new one begins" in ended.output
        assert main(["journal", "verify", str(told), "--log", str(folder / "log.txt")]) == 0
        event = next(journal.read(told))
        assert event.reason_id == "JOURNAL_SET_ASIDE"
        assert main(["journal", "verify", str(folder / f"journal.jsonl.broken-{n}")]) == 1
        if n == 1:
            moved = [name.replace("jsonl", "jsonl.broken-1") for name in files]
            assert sorted(event.data["files"]) == sorted([*moved, "journal.jsonl.broken-1.head"])
            for file in journal.files_of(told):
                file.unlink()


@pytest.mark.soak
def test_hostile_volumes_cost_no_fault(tmp_path: Path) -> None:
    """Mutated models and configurations: an error at the prompt or an answer, never a fault, never a hang."""
    folder = volume(tmp_path)
    good = {name: (folder / name).read_bytes() for name in ("models/flyball-demo.gguf",)}
    good["flyball.toml"] = b'threads = 1\ncontext = 64\ncache_type = "f16"\nguard.mode = "on"\nsampling.top_p = 0.9\n'
    random = Random(3)
    for n in range(int(os.environ.get("FLYBALL_MUTATIONS", "12"))):
        for name, content in good.items():
            changed = bytearray(content)
            header = min(len(changed), 60_000)  # metadata and the table of tensors: where lies matter most
            for _ in range(random.choice((0, 1, 3, 20))):
                changed[random.randrange(header)] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            if random.random() < 0.2:
                del changed[random.randrange(len(changed)) :]
            (folder / name).write_bytes(changed)
        ended = image.native(folder, ["/max_tokens 4", "Hello"], processors=1 + n % 2)
        assert "fault" not in ended.why, (n, ended)
        assert "no end" not in ended.why, (n, ended)
        assert "flyball 0." in ended.output


def test_the_whole_flow_is_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "script.txt"
    script.write_text("/raw on\n/max_tokens 4\nOnce\n/receipt r.json\n/quit\n")
    assert main(["image", "flow", str(tmp_path / "flow"), "--script", str(script)]) == 0
    steps = capsys.readouterr().out.splitlines()
    assert [step.partition(":")[0] for step in steps] == ["preflight", "build", "run", "extract", "verify"]
    assert steps[-1].endswith("1 receipts verified")
    script.write_text("/nonsense\n")
    assert main(["image", "flow", str(tmp_path / "flow"), "--script", str(script)]) == 1
    assert "failed" in capsys.readouterr().out


def test_what_a_flow_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "tool", lambda name: (_ for _ in ()).throw(flyball.NotFound(name, "is not installed")))
    missing = {what for what, _ in image.preflight(tmp_path, 1 << 60)}
    assert {"qemu-system-x86_64", "mcopy", str(tmp_path)} <= missing


def test_images_are_refused_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(flyball.NotFound):
        image.build(tmp_path / "a.img", [tmp_path / "absent.gguf"])
    with pytest.raises(flyball.NotFound):
        image.run(tmp_path / "absent.img", [])
    with pytest.raises(flyball.FileError):
        image.build(tmp_path / "no" / "folder.img")
    assert main(["image", "run", str(tmp_path / "absent.img"), "--script", "/dev/null"]) == 2
