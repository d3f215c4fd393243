"""What a server holds: it signs each receipt and records that in the journal, whose chain then has the statement."""

from __future__ import annotations

from ..errors import InvalidArgument
from ..journal.journal import Journal
from .keys import Keys, PublicKeys
from .notes import Note, head_note, is_name
from .statements import Signed, sign

REASON = "AUDIT_SIGNED"


class Signer:
    """Signs in the name of `server`, for use from any thread. With a journal, each signature is an event of it."""

    def __init__(self, keys: Keys, server: str, journal: Journal | None = None) -> None:
        if not is_name(server):
            raise InvalidArgument("server", f"is {server!r}, must be printable, without spaces and '+'")
        self._keys = keys
        self._journal = journal
        self.server = server

    def receipt(self, id: str, text: str) -> Signed:
        """Sign a receipt's JSON text; the journal's next flush writes the event."""
        signed = sign(self._keys, self.server, id, text)
        if self._journal is not None:
            about = signed.statement
            self._journal.tell(
                REASON, {"id": id, "issued": about["issued"], "key": about["key"], "statement": signed.sha256}
            )
        return signed

    def head(self) -> Note | None:
        """The signed note of the journal's head; None without a journal."""
        return None if self._journal is None else head_note(self._journal.head, self._keys, self.server)

    @property
    def public_keys(self) -> PublicKeys:
        """For /.well-known/flyball-keys.json."""
        return self._keys.public
