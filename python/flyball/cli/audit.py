"""`flyball audit`: sign receipts and heads of journals, and export bundles that can be checked offline."""

from __future__ import annotations

import argparse
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

from .. import audit, files, journal
from ..audit.primitives import read_time
from ..audit.witness import Witness
from ..engine.model import Model
from ..engine.receipt import Receipt
from ..errors import InvalidArgument, VerificationError
from . import common

_MOST_NOTE = 64 << 10
_END_OF_TIME = 1 << 53  # milliseconds


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "audit",
        help="sign receipts and heads of journals; bundles to check",
        description=__doc__,
        epilog="Exit codes: 0 it holds, 1 it does not hold, 2 error, or it could not be told.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        (keys, "print the public keys, which are made at first use"),
        (sign, "sign the receipt of an answer"),
        (head, "print the signed note of a journal's head"),
        (cosign, "print a note with a witness's signature added"),
        (export, "write a bundle of what was answered in a time"),
        (verify, "check a bundle, offline"),
    ):
        one = actions.add_parser(action.__name__, help=text, description=text)
        one.set_defaults(run=action)
        if action not in (cosign, verify):
            one.add_argument(
                "--key-folder", metavar="FOLDER", help="private keys (default: flyball/keys in the user's state folder)"
            )
        if action in (sign, head, export):
            one.add_argument(
                "--name", metavar="NAME", help="the server's name in what it signs (default: this machine's name)"
            )
        if action in (sign, export):
            one.add_argument(
                "--receipts",
                metavar="FOLDER",
                help="signed receipts (default: flyball/signed in the user's state folder)",
            )
        if action not in (head, cosign):
            one.add_argument("--json", action="store_true", help="print JSON instead of text")
        _FLAGS[action.__name__](one)


def _flags_of_keys(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rotate", action="store_true", help="a new key signs from now on; earlier ones remain for verification"
    )


def _flags_of_sign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receipt", metavar="RECEIPT", help="receipt written by flyball run or Result.receipt.save()")
    parser.add_argument("--journal", metavar="FILE", help="journal that records the signature")
    parser.add_argument("--id", metavar="ID", help="the receipt's name, which is never hidden (default: random)")


def _flags_of_head(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("journal", metavar="JOURNAL", help="newest file of the journal")


def _flags_of_cosign(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("note", metavar="NOTE", help="file with the signed note of a head")
    parser.add_argument("--key", metavar="FILE", required=True, help="the witness's private key")
    parser.add_argument(
        "--name", metavar="NAME", help="make the key for a witness of this name, if FILE does not exist"
    )
    parser.add_argument("--keys", metavar="FILE", help="public keys of the server, which must have signed the note")
    parser.add_argument(
        "--journal", metavar="FILE", help="the journal, which must have this head and the last one seen"
    )


def _flags_of_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", metavar="OUT", help="file to write (.zip)")
    parser.add_argument("--from", dest="begin", metavar="TIME", required=True, help="first time, such as 2027-01-31")
    parser.add_argument(
        "--to", dest="end", metavar="TIME", required=True, help="time behind the last; UTC without a zone"
    )
    parser.add_argument("--journal", metavar="FILE", required=True, help="the server's journal")
    parser.add_argument("--store", metavar="URL", help="the server's store, instead of a folder of signed receipts")
    parser.add_argument("--prompts", action="store_true", help="keep prompts and answers in the receipts")
    parser.add_argument(
        "--note", action="append", default=[], metavar="FILE", help="note of a head, cosigned; may be repeated"
    )


def _flags_of_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", metavar="BUNDLE", help="file that flyball audit export wrote")
    parser.add_argument("--keys", metavar="FILE", help="the server's public keys, as it publishes them")
    parser.add_argument(
        "--witness",
        action="append",
        default=[],
        metavar="KEY",
        help="key of a witness that must have cosigned; repeatable",
    )
    parser.add_argument("--model", metavar="FILE", help="also repeat the answers with this GGUF file")
    common.add_adapter_flag(parser)


_FLAGS = {
    "keys": _flags_of_keys,
    "sign": _flags_of_sign,
    "head": _flags_of_head,
    "cosign": _flags_of_cosign,
    "export": _flags_of_export,
    "verify": _flags_of_verify,
}


def keys(args: argparse.Namespace) -> int:
    """Print the public keys."""
    found = _keys(args)
    if args.rotate:
        found.rotate()
    public = found.public
    if args.json:
        common.write(public.json)
        return common.SUCCESS
    common.write_table([(key.id, key.created, f"retired {key.retired}" if key.retired else "signs") for key in public])
    return common.SUCCESS


def sign(args: argparse.Namespace) -> int:
    """Sign a receipt and store both."""
    receipt = Receipt.load(args.receipt)
    id = args.id or secrets.token_hex(12)
    with journal.Journal(args.journal) if args.journal else nullcontext() as recorded:
        signed = audit.Signer(_keys(args), _name(args), recorded).receipt(id, receipt.json)
        path = audit.save(_receipts(args), receipt.json, signed)
    if args.json:
        common.write_json({"id": id, "receipt": str(path), "signature": signed.as_dict()})
    else:
        common.write(f"signed   {signed.statement['issued']} with key {signed.statement['key']}\nreceipt  {path}\n")
    return common.SUCCESS


def head(args: argparse.Namespace) -> int:
    """Print a signed note of the journal's head."""
    report = journal.check(args.journal)
    if report.faults:
        common.say_error(f"not signed: {report.faults[0]}")
        return common.FAILURE
    if not report.files:
        raise InvalidArgument(args.journal, "does not exist, or has no lines")
    common.write(str(audit.head_note(report.head, _keys(args), _name(args))))
    return common.SUCCESS


def cosign(args: argparse.Namespace) -> int:
    """Print the note with a cosignature."""
    note = _note(args.note)
    witness = Witness(args.key, args.name)
    known = audit.PublicKeys.load(args.keys) if args.keys else None
    try:
        found = witness.cosign(note, int(time.time()), known, args.journal)
    except VerificationError as error:
        common.say_error(f"not cosigned: {error}")
        return common.FAILURE
    if known is None:
        common.say_error("warning: whether the server signed this was not checked; --keys FILE has its public keys")
    common.say_error(f"witness {witness.key.verifier}")
    common.write(str(found))
    return common.SUCCESS


def export(args: argparse.Namespace) -> int:
    """Write a bundle."""
    begin, end = read_time(args.begin, "--from"), read_time(args.end, "--to")
    found = audit.export(
        args.out,
        begin,
        end,
        _from_store(args.store) if args.store else audit.from_folder(_receipts(args)),
        args.journal,
        _keys(args),
        _name(args),
        prompts=args.prompts,
        notes=[_note(each) for each in args.note],
    )
    if args.json:
        common.write_json(
            {
                "bundle": str(found.path),
                "receipts": found.n_receipts,
                "journal_lines": found.n_lines,
                "missing": found.missing,
                "unrecorded": found.unrecorded,
                "adapters": found.adapters,
            }
        )
        return common.SUCCESS
    common.write(f"{found.path}: {found.n_receipts} receipts, {found.n_lines} lines of the journal\n")
    for text, ids in (("in the journal, but not stored", found.missing), ("not in the journal", found.unrecorded)):
        if ids:
            common.write(f"{len(ids)} receipts are {text}: {', '.join(map(common.printable, ids))}\n")
    for digest in found.adapters:
        common.write(f"audit verify --model needs the file of adapter {common.printable(digest)}\n")
    return common.SUCCESS


def _from_store(url: str) -> Iterator[audit.Record]:
    """The signed receipts of all projects of a server's store."""
    from ..audit.statements import Signed
    from ..store import Store

    with Store.open(url) as store:
        for name in store.projects():
            for stored in store.project(name).receipts.between(0, _END_OF_TIME):
                if stored.signature is not None:
                    issued = str(Signed.parse(stored.signature).statement["issued"])
                    yield audit.Record(stored.id, issued, stored.json, stored.signature)


def verify(args: argparse.Namespace) -> int:
    """Check a bundle and print what does not hold, or could not be told."""
    known = audit.PublicKeys.load(args.keys) if args.keys else None
    witnesses = [audit.VerifierKey.parse(each) for each in args.witness]
    progress = common.Progress()
    if args.model:
        with Model.load(args.model, progress=progress) as model:
            verdict = audit.verify_bundle(
                args.bundle, known, witnesses, model, progress, common.adapter_finder(args.adapter)
            )
    else:
        verdict = audit.verify_bundle(args.bundle, known, witnesses)
    progress.clear()
    code = common.FAILURE if verdict.faults else common.ERROR if verdict.doubts else common.SUCCESS
    if args.json:
        common.write_json(_as_dict(verdict))
        return code
    for word, texts in (("does not hold", verdict.faults), ("could not tell", verdict.doubts)):
        for text in texts:
            common.write(f"{word}: {common.printable(text)}\n")
    if not verdict.faults:
        common.write(_summary(verdict))
    return code


def _as_dict(verdict: audit.Verdict) -> dict[str, object]:
    return {
        "verified": verdict.verified,
        "faults": verdict.faults,
        "doubts": verdict.doubts,
        "manifest": verdict.manifest or None,
        "receipts": verdict.n_receipts,
        "journal_lines": verdict.n_lines,
        "notes": verdict.n_notes,
        "answers_repeated": verdict.n_repeated,
        "cosignatures": [{"witness": name, "time": seconds} for name, seconds in verdict.cosignatures],
    }


def _summary(verdict: audit.Verdict) -> str:
    about = verdict.manifest
    lines = [
        f"{'verified' if verdict.verified else 'no fault'}: {verdict.n_receipts} receipts,"
        f" {verdict.n_lines} lines of the journal, {verdict.n_notes} heads, {verdict.n_repeated} answers repeated",
        f"of {common.printable(str(about['server']))}, {about['from']} to {about['to']}, key {about['key']}",
    ]
    for name, seconds in verdict.cosignatures:
        when = datetime.fromtimestamp(min(seconds, 253402300799), tz=UTC).isoformat()
        lines.append(f"cosigned by {common.printable(name)} {when}")
    return "".join(f"{line}\n" for line in lines)


def _keys(args: argparse.Namespace) -> audit.Keys:
    return audit.Keys(args.key_folder or _state("keys", "--key-folder"))


def _receipts(args: argparse.Namespace) -> Path | str:
    return args.receipts or _state("signed", "--receipts")


def _state(name: str, flag: str) -> Path:
    folder = files.state_folder()
    if folder is None:
        raise InvalidArgument(flag, "is needed: there is no home folder")
    return folder / name


def _name(args: argparse.Namespace) -> str:
    return args.name or socket.gethostname()


def _note(path: str) -> audit.Note:
    return audit.Note.parse(files.read(path, _MOST_NOTE))
