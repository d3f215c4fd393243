"""Bringing a model here: each file into a hidden one beside its place, from where an earlier try broke off.

What is downloaded is checked against the hub's SHA-256, and gets its name only then, a split model's parts together.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..errors import Error, FileError, FormatError, InvalidArgument, NotFound, Unavailable
from ..files import lacks_room
from .listing import HubFile, HubModel, checked, chosen, models_of
from .reference import Reference

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Progress = Callable[[str, int, int], None]

_TIMEOUT = 30.0  # seconds for the list of files


@dataclass(frozen=True)
class Pulled:
    """A model that is here. `path`: its file, or the first part; `n_downloaded`: bytes that came just now."""

    path: Path
    label: str
    n_bytes: int
    n_downloaded: int


def pull(
    reference: Reference, folder: Path, progress: Progress = lambda *_: None, endpoint: str | None = None
) -> Pulled:
    """Download a model of the hub into a folder; what is there already is checked instead.

    Raises NotFound (no such repository or model; with what there is), Unavailable (unreachable, broken off: the next
    try goes on from there), FormatError (other bytes than the hub says), FileError (no room, not writable) or
    InvalidArgument (another file has the name, or is being pulled).
    """
    try:
        from huggingface_hub import HfApi
    except ModuleNotFoundError as error:
        what = f"is missing, which pull needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    api = HfApi(endpoint=endpoint, library_name="flyball")
    with _told(reference):
        revision, files = _files(api, reference)
    model = checked(chosen(reference, models_of(files)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _Download(api, reference, revision, model, folder, progress).run()
    except Error:
        raise
    except OSError as error:
        raise FileError(str(folder), f"cannot be written: {error.strerror or error}") from None


def _files(api: HfApi, reference: Reference) -> tuple[str, list[HubFile]]:
    """The repository's newest commit, and its files."""
    info = api.model_info(reference.repo, files_metadata=True, timeout=_TIMEOUT)
    files = [
        HubFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else None) for each in info.siblings or ()
    ]
    return info.sha or "main", files


@dataclass
class _Download:
    api: HfApi
    reference: Reference
    revision: str
    model: HubModel
    folder: Path
    progress: Progress
    n_downloaded: int = 0

    def run(self) -> Pulled:
        missing = [file for file in self.model.files if not self._is_here(file)]
        rest = sum(file.n_bytes - self._n_begun(file) for file in missing)
        if rest > 0 and (problem := lacks_room(self.folder, rest)):
            raise FileError(str(self.folder), problem)
        whole = [(self._download(file), self.folder / file.base) for file in missing]
        for part, place in reversed(whole):  # the first part last: a model is found by it
            os.replace(part, place)
        _flush(self.folder)
        path = self.folder / self.model.files[0].base
        return Pulled(path, self.model.label, self.model.n_bytes, self.n_downloaded)

    def _is_here(self, file: HubFile) -> bool:
        """Whether the file is there; one of this name with other bytes is never written over."""
        path = self.folder / file.base
        if not os.path.lexists(path):
            return False
        if not path.is_file() or path.stat().st_size != file.n_bytes or self._sha256(path) != file.sha256:
            what = f"is there and is another file than {file.name} of {self.reference}; move it away first"
            raise InvalidArgument(str(path), what)
        return True

    def _part(self, file: HubFile) -> Path:
        """Named after what it shall be: parts of another version are not gone on with."""
        assert file.sha256 is not None
        return self.folder / f".{file.base}.{file.sha256[:16]}.part"

    def _n_begun(self, file: HubFile) -> int:
        part = self._part(file)
        return part.stat().st_size if part.is_file() else 0

    def _download(self, file: HubFile) -> Path:
        part = self._part(file)
        with _locked(part) as opened:
            begun = opened.seek(0, os.SEEK_END)
            if begun > file.n_bytes:
                begun = opened.truncate(0)
                opened.seek(0)
            self._fetch(file, opened, begun)
            opened.flush()
            os.fsync(opened.fileno())
            if self._sha256(part) != file.sha256:
                part.unlink()
                what = "has other bytes than the hub says (SHA-256); it was deleted, so try again"
                raise FormatError(f"{self.reference}/{file.name}", what)
        return part

    def _fetch(self, file: HubFile, opened: BinaryIO, begun: int) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers, disable_progress_bars

        disable_progress_bars()
        url = hf_hub_url(self.reference.repo, file.name, revision=self.revision, endpoint=self.api.endpoint)
        watched = _Watched(opened, file, self.progress)
        with _told(self.reference):
            http_get(
                url,
                cast(BinaryIO, watched),
                resume_size=begun,
                headers=build_hf_headers(library_name="flyball"),
                expected_size=file.n_bytes,
                displayed_filename=file.base,
            )
        self.n_downloaded += watched.n_written

    def _sha256(self, path: Path) -> str:
        digest, total, done = hashlib.sha256(), path.stat().st_size, 0
        with open(path, "rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
                done += len(block)
                self.progress("checking", done, total)
        return digest.hexdigest()


class _Watched:
    """A file that tells what is written to it, and takes no more than was announced."""

    def __init__(self, file: BinaryIO, about: HubFile, progress: Progress) -> None:
        self._file = file
        self._about = about
        self._progress = progress
        self.n_written = 0

    def write(self, chunk: bytes) -> int:
        if self._file.tell() + len(chunk) > self._about.n_bytes:
            raise FormatError(self._about.name, f"is longer than the {self._about.n_bytes} bytes that the hub says")
        self.n_written += len(chunk)
        self._progress("pulling", self._file.tell() + len(chunk), self._about.n_bytes)
        return self._file.write(chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """The file of a download, which no other process writes meanwhile."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with open(descriptor, "r+b") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidArgument(str(part), "is being pulled by another process") from None
        yield opened


@contextmanager
def _told(reference: Reference) -> Iterator[None]:
    """What the hub and the network say, in our words."""
    from huggingface_hub import errors as hub

    where = str(reference)
    try:
        yield
    except hub.GatedRepoError:
        what = f"is gated: accept its terms at https://huggingface.co/{reference.repo}, and set HF_TOKEN to your token"
        raise NotFound(where, what) from None
    except (hub.RepositoryNotFoundError, hub.EntryNotFoundError, hub.RevisionNotFoundError):
        raise NotFound(where, "is not there, or private: HF_TOKEN may name a token that sees it") from None
    except (hub.HFValidationError, ValueError, KeyError, TypeError) as error:  # of a list that is none
        if isinstance(error, Error):
            raise
        raise FormatError(where, f"cannot be pulled: {error}") from None
    except hub.OfflineModeIsEnabled:
        raise Unavailable(where, "cannot be reached: HF_HUB_OFFLINE is set") from None
    except hub.HfHubHTTPError as error:
        raise Unavailable(where, f"the hub answered with {error.response.status_code}; try again later") from None
    except hub.HTTPError as error:
        what = f"cannot be reached ({type(error).__name__}); the next try goes on from here"
        raise Unavailable(where, what) from None
    except OSError as error:
        if error.errno is not None or isinstance(error, Error):
            raise
        raise Unavailable(where, "broke off; the next try goes on from here") from None


def _flush(folder: Path) -> None:
    """So that the new names outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
