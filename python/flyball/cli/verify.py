"""`flyball verify`: repeat an answer from its receipt and compare all logits, tokens and the digest."""

from __future__ import annotations

import argparse

from ..engine.model import Model, demo_model_path
from ..engine.receipt import Receipt
from ..engine.verify import adapters_of, difference_position, report_of
from ..errors import InvalidArgument
from . import common


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "verify",
        help="repeat an answer from its receipt and compare",
        description=__doc__,
        epilog="Exit codes: 0 verified, 1 mismatch, 2 error.",
        parents=[common.MODEL_FLAG, common.ADAPTERS, common.JSON],
    )
    parser.add_argument("receipt", metavar="RECEIPT", help="receipt written by flyball run or Result.receipt.save()")
    parser.add_argument(
        "--isa", default="auto", metavar="NAME", help="instruction set to use (default: the best of the processor)"
    )
    parser.add_argument(
        "--threads", type=int, default=0, metavar="N", help="compute threads (default: one per processor)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Verify a receipt and print the first difference."""
    receipt = Receipt.load(args.receipt)
    progress = common.Progress()
    with Model.load(args.model or demo_model_path(), isa=args.isa, threads=args.threads, progress=progress) as model:
        if args.model is None and model.fingerprint(progress) != receipt.fingerprint:
            name = common.printable(str(receipt["model"]["name"]))
            raise InvalidArgument("--model", f"is needed: the receipt is of {name!r}, not of the bundled model")
        adapters = adapters_of(receipt, model, common.adapter_finder(args.adapter), {})
        report = report_of(receipt, model, progress, adapters=adapters)
        progress.clear()
        if args.json:
            common.write_json(report | {"isa": model.info.isa, "threads": model.info.threads})
        elif report["verified"]:
            common.write(
                f"verified: {report['n_compared']} positions computed again on {model.info.isa},"
                f" {model.info.threads} threads; logits, tokens, text and digest are equal\ndigest {report['digest']}\n"
            )
        else:
            position = difference_position(report)
            place = report["difference"] if position is None else f"{report['difference']} at position {position}"
            common.write(f"mismatch, {place}: {common.printable(report['message'])}\n")
    return common.SUCCESS if report["verified"] else common.FAILURE
