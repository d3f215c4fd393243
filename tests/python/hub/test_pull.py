"""Models of the hub: chosen, downloaded, checked, and never half there."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyball.errors import Error, FileError, FormatError, InvalidArgument, NotFound, Unavailable
from flyball.hub import Reference, download, pull
from flyball.hub.listing import HubFile, HubModel, chosen, models_of

from .hub_server import REPO, Hub, running

RAW = bytes(range(256)) * 4096  # 1 MiB
SHA = "0" * 64


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running(Hub(files={"model-Q4_K_M.gguf": RAW, "model-Q8_0.gguf": RAW * 2, "README.md": b"x"})) as there:
        yield there


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


def pulled(hub: Hub, folder: Path, choice: str = "") -> download.Pulled:
    return pull(Reference(REPO, choice), folder, endpoint=hub.url)


@pytest.mark.parametrize(
    ("text", "repo", "choice"),
    [
        ("org/model", "org/model", ""),
        ("hf.co/org/model:Q8_0", "org/model", "Q8_0"),
        ("https://huggingface.co/org/model-GGUF/", "org/model-GGUF", ""),
        ("https://huggingface.co/org/m:UD-Q4_K_XL", "org/m", "UD-Q4_K_XL"),
        ("huggingface.co/Org_1/m.v2:model-Q4_0.gguf", "Org_1/m.v2", "model-Q4_0.gguf"),
    ],
)
def test_references(text: str, repo: str, choice: str) -> None:
    assert Reference.parse(text) == Reference(repo, choice)


@pytest.mark.parametrize(
    "text",
    ["", "model", "a/b/c", "../b", "a/..", "http://evil.example/a/b", "https://hf.co@evil/a/b", "a/b:", "a/b:../x",
     "a/b:x/y",
     "hf.co/a/b?x", "a /b", "-a/b", "a/b\n", "file:///a/b", "/a/b"],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    if text == "a/b\n":
        assert Reference.parse(text).repo == "a/b"
        return
    with pytest.raises(InvalidArgument, match="must be"):
        Reference.parse(text)


def listed(*names: str) -> list[HubModel]:
    return models_of(HubFile(name, 100 + number, SHA) for number, name in enumerate(names))


def test_models_of_a_repository() -> None:
    found = listed(
        "m-Q4_K_M.gguf", "m.Q8_0.gguf", "m-UD-IQ2_XXS.gguf", "BF16/m-BF16-00002-of-00002.gguf",
        "BF16/m-BF16-00001-of-00002.gguf", "mmproj-F16.gguf", "imatrix.gguf", "README.md",
        "Q5_K_S/m-00001-of-00001.gguf",
    )  # fmt: skip
    assert [model.label for model in found] == ["Q4_K_M", "Q8_0", "UD-IQ2_XXS", "Q5_K_S", "BF16"]
    assert [file.base for file in found[-1].files] == ["m-BF16-00001-of-00002.gguf", "m-BF16-00002-of-00002.gguf"]
    assert chosen(Reference("a/b"), found).label == "Q4_K_M"
    assert chosen(Reference("a/b", "ud-iq2_xxs"), found).label == "UD-IQ2_XXS"
    assert chosen(Reference("a/b", "m.Q8_0.gguf"), found).label == "Q8_0"


def test_without_the_default_the_choice_is_the_users() -> None:
    with pytest.raises(NotFound, match=r"no model Q4_K_M.*of Q8_0, F16"):
        chosen(Reference("a/b"), listed("m-Q8_0.gguf", "m-F16.gguf"))
    with pytest.raises(NotFound, match=r"no model Q2_K.*of Q8_0, F16"):
        chosen(Reference("a/b", "Q2_K"), listed("m-Q8_0.gguf", "m-F16.gguf"))
    with pytest.raises(NotFound, match=r"2 models Q8_0.*of a-Q8_0\.gguf, b-Q8_0\.gguf"):
        chosen(Reference("a/b", "Q8_0"), listed("a-Q8_0.gguf", "b-Q8_0.gguf"))
    assert chosen(Reference("a/b"), listed("m-Q8_0.gguf")).label == "Q8_0"


def test_a_split_model_that_lacks_a_part_is_refused() -> None:
    with pytest.raises(FormatError, match="1 of its 2 parts"):
        listed("m-Q8_0-00002-of-00002.gguf")


@pytest.mark.parametrize(
    "name",
    ["../m-Q4_K_M.gguf", "/etc/m-Q4_K_M.gguf", "a/../../m-Q4_K_M.gguf", "a//m-Q4_K_M.gguf", "..\\m-Q4_K_M.gguf",
     "m\x00-Q4_K_M.gguf",
     ".m-Q4_K_M.gguf", "a/.m-Q4_K_M.gguf", "m\n-Q4_K_M.gguf", "m-Q4_K_M.gguf/..", "~/m-Q4_K_M.gguf", "m-Q4_K_M.gguf\n"],
)  # fmt: skip
def test_hostile_names_are_no_models(hub: Hub, folder: Path, name: str) -> None:
    hub.files = {name: RAW}
    with pytest.raises(NotFound, match="has no GGUF file"):
        pulled(hub, folder)
    assert not folder.exists()
    assert hub.downloads == []


def test_pulling(hub: Hub, folder: Path) -> None:
    found = pulled(hub, folder)
    assert found == download.Pulled(folder / "model-Q4_K_M.gguf", "Q4_K_M", len(RAW), len(RAW))
    assert found.path.read_bytes() == RAW
    assert os.listdir(folder) == ["model-Q4_K_M.gguf"]
    assert pulled(hub, folder).n_downloaded == 0
    assert hub.downloads == ["model-Q4_K_M.gguf"]


def test_split_models_come_whole(hub: Hub, folder: Path) -> None:
    names = [f"Q8_0/m-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    hub.files = {name: RAW + bytes([number]) for number, name in enumerate(names)}
    hub.sha256[names[2]] = "1" * 64
    with pytest.raises(FormatError, match="SHA-256"):
        pulled(hub, folder)
    assert not list(folder.glob("*.gguf"))
    hub.sha256.clear()
    found = pulled(hub, folder)
    assert found.path == folder / "m-00001-of-00003.gguf"
    assert sorted(os.listdir(folder)) == [name.removeprefix("Q8_0/") for name in names]
    assert found.n_downloaded == len(RAW) + 1  # the others were there


def test_a_download_that_broke_off_is_gone_on_with(hub: Hub, folder: Path) -> None:
    raw = hub.files["model-Q4_K_M.gguf"] = RAW * 12  # the hub's library writes 10 MiB at once
    hub.cut = 11 << 20
    with pytest.raises(Unavailable):
        pulled(hub, folder)
    assert not list(folder.glob("*.gguf"))
    (part,) = folder.iterdir()
    n_begun = part.stat().st_size
    assert 0 < n_begun <= 11 << 20
    hub.down = False
    hub.ranges.clear()
    found = pulled(hub, folder)
    assert hub.ranges == [f"bytes={n_begun}-"]
    assert found.n_downloaded == len(raw) - n_begun
    assert found.path.read_bytes() == raw
    assert os.listdir(folder) == ["model-Q4_K_M.gguf"]


def test_a_damaged_beginning_is_found(hub: Hub, folder: Path) -> None:
    folder.mkdir()
    part = folder / f".model-Q4_K_M.gguf.{hashlib.sha256(RAW).hexdigest()[:16]}.part"
    part.write_bytes(b"\xff" * 1000)
    with pytest.raises(FormatError, match="SHA-256"):
        pulled(hub, folder)
    assert os.listdir(folder) == []
    part.write_bytes(b"\xff" * (len(RAW) + 1))  # longer than the whole: begun anew
    assert pulled(hub, folder).path.read_bytes() == RAW


def test_a_wrong_checksum_leaves_nothing(hub: Hub, folder: Path) -> None:
    hub.sha256["model-Q4_K_M.gguf"] = "1" * 64
    with pytest.raises(FormatError, match="other bytes than the hub says"):
        pulled(hub, folder)
    assert os.listdir(folder) == []


def test_without_a_checksum_nothing_is_pulled(hub: Hub, folder: Path) -> None:
    hub.sha256["model-Q4_K_M.gguf"] = ""
    with pytest.raises(FormatError, match="no SHA-256"):
        pulled(hub, folder)
    assert hub.downloads == []


def test_other_files_are_never_written_over(hub: Hub, folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    place = folder / "model-Q4_K_M.gguf"
    place.write_bytes(b"mine")
    with pytest.raises(InvalidArgument, match="another file"):
        pulled(hub, folder)
    assert place.read_bytes() == b"mine"
    place.unlink()
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidArgument, match="another file"):
        pulled(hub, folder)
    assert not (tmp_path / "elsewhere").exists()


def test_two_at_once_do_not_mix(hub: Hub, folder: Path) -> None:
    folder.mkdir()
    part = folder / f".model-Q4_K_M.gguf.{hashlib.sha256(RAW).hexdigest()[:16]}.part"
    with download._locked(part), pytest.raises(InvalidArgument, match="another process"):
        pulled(hub, folder)


def test_no_room(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "lacks_room", lambda folder, n_bytes: f"lacks {n_bytes}")
    with pytest.raises(FileError, match=f"lacks {len(RAW)}"):
        pulled(hub, folder)
    assert hub.downloads == []


def test_a_folder_that_cannot_be(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be written"):
        pulled(hub, tmp_path / "file" / "models")


def test_refusals_of_the_hub(hub: Hub, folder: Path) -> None:
    with pytest.raises(NotFound, match="is not there, or private"):
        pull(Reference("org/nothing"), folder, endpoint=hub.url)
    hub.gated = True
    with pytest.raises(NotFound, match="is gated: accept its terms"):
        pulled(hub, folder)
    hub.gated = False
    hub.files = {"model.safetensors": RAW}
    with pytest.raises(NotFound, match="has no GGUF file"):
        pulled(hub, folder)
    assert not folder.exists()


def test_offline(folder: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        pull(Reference(REPO), folder, endpoint="http://127.0.0.1:9")


def test_every_error_is_ours() -> None:
    from huggingface_hub import errors

    for kind in (
        errors.OfflineModeIsEnabled("x"),
        errors.HFValidationError("x"),
        errors.HTTPError("x"),
        OSError("size"),
    ):
        with pytest.raises(Error), download._told(Reference(REPO)):
            raise kind
    with pytest.raises(FileNotFoundError), download._told(Reference(REPO)):
        raise FileNotFoundError(2, "x")


def test_the_command(hub: Hub, tmp_path: Path) -> None:
    environment = os.environ | {"HOME": str(tmp_path), "XDG_DATA_HOME": "", "HF_ENDPOINT": hub.url}
    command = [sys.executable, "-m", "flyball", "pull", f"hf.co/{REPO}:Q8_0", "--json"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / ".local/share/flyball/models/model-Q8_0.gguf"
    assert json.loads(done.stdout) == {
        "path": str(path), "label": "Q8_0", "n_bytes": 2 * len(RAW), "n_downloaded": 2 * len(RAW),
    }  # fmt: skip
    assert path.read_bytes() == RAW * 2
