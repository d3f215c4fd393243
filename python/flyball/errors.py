"""The exceptions of Flyball; each names the place and the cause."""

from __future__ import annotations

from typing import Self


class Error(Exception):
    """Base of all errors of Flyball.

    `code` is the core's name of the kind, `where` the file, field or argument, `what` the explanation, `offset` the
    byte offset in a file or None.
    """

    code = "internal"

    def __init__(self, where: str, what: str, offset: int | None = None, code: str | None = None) -> None:
        super().__init__(where, what, offset)
        self.where = where
        self.what = what
        self.offset = offset
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        place = self.where if self.offset is None else f"{self.where} at byte {self.offset}"
        return f"{place}: {self.what}" if place else self.what

    def in_file(self, path: str) -> Self:
        """The same error with the path of the file, or the place in a list, prepended to `where`."""
        return type(self)(f"{path}: {self.where}", self.what, self.offset, self.code)


class InvalidArgument(Error, ValueError):
    """An argument is out of range, or the call is not possible in this state."""

    code = "invalid_argument"


class UnknownArgument(InvalidArgument, TypeError):
    """A keyword argument does not exist."""


class SessionBusy(Error):
    """A session was used by two calls at once."""

    code = "busy"


class NotFound(Error, FileNotFoundError):
    """A file, key or tensor does not exist."""

    code = "not_found"


class FileError(Error, OSError):
    """A file could not be read, written or mapped."""

    code = "io"


class FormatError(Error, ValueError):
    """A file is malformed, or does not match its size or checksum."""

    code = "corrupt"


class Unsupported(FormatError):
    """A file is well-formed, but Flyball does not support it."""

    code = "unsupported"


class Unavailable(Error):
    """A database is locked, busy or does not answer: what was asked may succeed later."""

    code = "unavailable"


class OutOfMemory(Error, MemoryError):
    """There is not enough memory for a model or session, or no thread for the batch."""

    code = "out_of_memory"


class ContextFull(Error):
    """The tokens do not fit into the session's context."""

    code = "context_full"


class Interrupted(Error):
    """The work was stopped by a deadline or a stop request."""

    code = "interrupted"


class NonFinite(Error, ArithmeticError):
    """The model computed NaN or infinity."""

    code = "non_finite"


class VerificationError(Error):
    """A mismatch with a receipt or with known tokens: `position` is the first token of the answer that differs, where
    tokens or logits do."""

    code = "mismatch"
    position: int | None = None


class TemplateError(Error, ValueError):
    """A chat template is invalid, uses what the sandbox forbids, or exceeds its bounds."""

    code = "template"


class InternalError(Error):
    """A defect of Flyball itself."""


_CLASSES: dict[str, type[Error]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        SessionBusy,
        NotFound,
        FileError,
        FormatError,
        Unsupported,
        OutOfMemory,
        ContextFull,
        Interrupted,
        NonFinite,
        VerificationError,
        InternalError,
    )
}


def from_core(code: str, where: str, what: str, offset: int | None = None) -> Error:
    """The exception for an error of the core; the binding calls this."""
    code = "io" if code == "input/output" else code.replace(" ", "_").replace("-", "_")
    return _CLASSES.get(code, InternalError)(where, what, offset, code)
