"""Files that clients uploaded or batches wrote, in the database.

Beside the database they would need a second backup, a shared folder for several servers, and repair after a crash. The
bounds keep them cheap in it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..errors import FormatError, InvalidArgument, NotFound
from . import checks
from .quotas import Quotas
from .schema import file_chunks, files
from .scope import Condition, Scope, found, record

MOST_FILE_BYTES = 200 << 20  # OpenAI's for batches
MOST_PROJECT_BYTES = 20 << 30
_CHUNK_BYTES = 1 << 20  # a transaction each: an upload never keeps other writers waiting
_UPLOAD_MS = 86_400_000  # what is not complete after a day never will be


@dataclass(frozen=True)
class File:
    """A complete file; times are milliseconds since 1970."""

    id: str
    name: str
    purpose: str
    n_bytes: int
    sha256: str
    created: int
    expires: int | None


class Files:
    """The files of a project. A file is seen when it is complete."""

    def __init__(self, scope: Scope, quotas: Quotas) -> None:
        self._scope = scope
        self._quotas = quotas

    def put(
        self,
        name: str,
        purpose: str,
        content: Iterable[bytes],
        expires: int | None = None,
        most_bytes: int | None = None,
    ) -> File:
        """Store a file whose content comes in pieces of any size. Where that fails, nothing of it stays.

        Raises InvalidArgument for more than `most_bytes` (200 MiB), or 20 GiB in the project.
        """
        row: dict[str, Any] = {
            "id": "file-" + secrets.token_hex(12),
            "name": checks.text("name", name),
            "purpose": checks.text("purpose", purpose),
            "created": self._scope.clock(),
            "expires": checks.time("expires", expires),
        }
        with self._scope.database.writing() as connection:
            self._scope.insert(connection, files, [{**row, "n_bytes": 0}])
        try:
            n_bytes, sha256 = self._write(row["id"], content, MOST_FILE_BYTES if most_bytes is None else most_bytes)
            with self._scope.database.writing() as connection:
                self._set(connection, row["id"], n_bytes=n_bytes, sha256=sha256)
        except BaseException:
            self.delete(row["id"])
            raise
        return File(**row, n_bytes=n_bytes, sha256=sha256)

    def get(self, id: str) -> File | None:
        """The file of this id."""
        with self._scope.database.reading() as connection:
            return self._scope.one(connection, files, files.c.id == id, files.c.sha256.is_not(None), kind=File)

    def content(self, id: str) -> Iterator[bytes]:
        """A file's bytes in pieces, read while they are used.

        Raises NotFound, also later where the file is deleted meanwhile, and at the end FormatError if it was damaged.
        """
        file = found(self.get(id), "file", id)
        return self._read(file)

    def all(self, purpose: str | None = None, newest_first: bool = False) -> Iterator[File]:
        """The files in the order of their upload."""
        where: list[Condition] = [files.c.sha256.is_not(None)]
        if purpose is not None:
            where.append(files.c.purpose == purpose)
        rows = self._scope.pages(files, *where, key=("created", "id"), newest_first=newest_first)
        return (record(File, row) for row in rows)

    def delete(self, id: str) -> bool:
        """False: there was none."""
        with self._scope.database.writing() as connection:
            return connection.execute(self._scope.delete(files, files.c.id == id)).rowcount == 1

    def purge(self) -> int:
        """Delete files that have expired, and uploads that a crash cut short; how many they were."""
        now = self._scope.clock()
        lost = sa.and_(files.c.sha256.is_(None), files.c.created < now - _UPLOAD_MS)
        return self._scope.purge(files, sa.or_(files.c.expires <= now, lost))

    def _write(self, id: str, content: Iterable[bytes], most_bytes: int) -> tuple[int, str]:
        hash, n_bytes = hashlib.sha256(), 0
        for number, chunk in enumerate(_chunks(content)):
            hash.update(chunk)
            n_bytes += len(chunk)
            if n_bytes > most_bytes:
                raise InvalidArgument("content", f"is longer than {most_bytes >> 20} MiB")
            row = {"file_id": id, "number": number, "content": chunk}
            with self._scope.database.writing() as connection:
                self._set(connection, id, n_bytes=n_bytes)
                self._scope.insert(connection, file_chunks, [row])
                if most_bytes <= MOST_FILE_BYTES:  # results of batches, which were paid for, are always stored
                    self._quotas.check_room(connection)
                if self._n_stored(connection) > MOST_PROJECT_BYTES:
                    raise InvalidArgument(
                        "content", f"exceeds the {MOST_PROJECT_BYTES >> 30} GiB of files in a project; delete some"
                    )
        return n_bytes, hash.hexdigest()

    def _set(self, connection: sa.Connection, id: str, **values: Any) -> None:
        if connection.execute(self._scope.update(files, files.c.id == id).values(**values)).rowcount != 1:
            raise NotFound(id, "was deleted while it was uploaded, as after a day; upload it again")

    def _n_stored(self, connection: sa.Connection) -> int:
        total = self._scope.select(files).with_only_columns(sa.func.sum(files.c.n_bytes))
        return connection.execute(total).scalar_one() or 0

    def _read(self, file: File) -> Iterator[bytes]:
        hash, n_bytes, number = hashlib.sha256(), 0, 0
        while n_bytes < file.n_bytes:
            where = (file_chunks.c.file_id == file.id, file_chunks.c.number == number)
            with self._scope.database.reading() as connection:
                row = connection.execute(self._scope.select(file_chunks, *where)).mappings().one_or_none()
            chunk: bytes = found(row, "file", file.id)["content"]
            hash.update(chunk)
            n_bytes, number = n_bytes + len(chunk), number + 1
            yield chunk
        if (n_bytes, hash.hexdigest()) != (file.n_bytes, file.sha256):
            raise FormatError(file.id, "does not match its checksum: the database is damaged; restore a backup")


def _chunks(content: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one size, but for the last."""
    held = bytearray()
    for piece in content:
        held += piece
        while len(held) >= _CHUNK_BYTES:
            yield bytes(held[:_CHUNK_BYTES])
            del held[:_CHUNK_BYTES]
    if held:
        yield bytes(held)
