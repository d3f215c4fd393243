"""Audit: signed receipts, signed notes of the journal's head, and bundles that can be checked offline."""

from .bundle import export
from .check import Verdict, verify_bundle
from .keys import Keys, PublicKey, PublicKeys
from .notes import Checkpoint, Note, SignerKey, VerifierKey, cosign, head_note, verify_note
from .signer import Signer
from .sources import Record, from_folder, save
from .statements import Signed, sign, verify

__all__ = [
    "Checkpoint",
    "Keys",
    "Note",
    "PublicKey",
    "PublicKeys",
    "Record",
    "Signed",
    "Signer",
    "SignerKey",
    "Verdict",
    "VerifierKey",
    "cosign",
    "export",
    "from_folder",
    "head_note",
    "save",
    "sign",
    "verify",
    "verify_bundle",
    "verify_note",
]
