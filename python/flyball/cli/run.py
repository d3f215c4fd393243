"""`flyball run`: generate from a prompt."""

from __future__ import annotations

import argparse
import os

from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.results import Phase, Result, Speculation
from ..engine.session import Session, Stream
from ..errors import InvalidArgument, NotFound
from . import common

DEFAULT_PROMPT = "Once upon a time"
_SHOWN = 60  # characters of what was taken for a file


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "run",
        help="generate from a prompt",
        description=__doc__,
        parents=[common.MODEL, common.JSON, common.TEMPLATE_VARIABLES],
    )
    parser.add_argument("words", nargs="*", metavar="PROMPT", help="the prompt, after the model (or -p, -f)")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument(
        "-p", "--prompt", metavar="TEXT", help=f"the prompt (default: standard input if piped, else {DEFAULT_PROMPT!r})"
    )
    prompt.add_argument("-f", "--file", metavar="FILE", help="read the prompt from a file; '-': standard input")
    parser.add_argument(
        "--chat", action="store_true", help="send the prompt as a user message in the model's chat template"
    )
    parser.add_argument("-n", dest="max_tokens", metavar="TOKENS", help="maximum tokens of the answer (default: 512)")
    parser.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated"
    )
    parser.add_argument("--deadline", type=float, metavar="SECONDS", help="end the answer after this time")
    parser.add_argument("--ignore-eos", action="store_true", help="continue after an end-of-generation token")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json-schema", metavar="FILE", help="the answer is JSON that is valid under this schema")
    shape.add_argument("--grammar", metavar="FILE", help="the answer is a text of this grammar, in GBNF")
    common.add_flags(parser, (*common.MODEL_FLAGS, *common.SAMPLING_FLAGS))
    receipt = parser.add_mutually_exclusive_group()
    receipt.add_argument(
        "--receipt", metavar="FILE", help="file to write the receipt to (default: in the user's state folder)"
    )
    receipt.add_argument(
        "--no-receipt",
        action="store_true",
        help="write no receipt; with --quiet this also skips hashing the model file",
    )
    common.add_journal_flags(parser)
    parser.add_argument("-q", "--quiet", action="store_true", help="print the answer only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Generate, print, and write the receipt unless --no-receipt is given."""
    _check_model(args.model)
    settings = common.read_settings(args)
    prompt = _prompt(args)
    progress = common.Progress()
    with common.open_journal(args, settings) as journal, common.open_model(settings, progress, journal) as model:
        if not (args.json or args.quiet):
            if common.is_demo(settings):
                common.write(common.DEMO_NOTE + "\n\n")
            common.write(prompt + "\n\n" if args.chat else prompt)
        keywords = common.generate_keywords(settings, progress)
        max_tokens = settings["max_tokens"].value
        policy = common.open_policy(model, settings, max_tokens)
        session = policy.session() if policy else model.session()
        session.set_adapter(*common.open_adapter(model, settings))
        stream = _stream(model, session, prompt, args, keywords, max_tokens, progress)
        result = _show(stream, silent=args.json)
        if not args.json:
            common.write("\n")  # a progress line begins at the terminal's left
        kept = _keep(result, model, args, progress)
        if args.json:
            about = {"model": model.info.path, "isa": model.info.isa, "threads": model.info.threads, "prompt": prompt}
            common.write_json(about | common.answer_as_dict(result, kept))
        elif not args.quiet:
            _summary(model, result, kept)
        if kept.why not in ("", common.NOT_WANTED):
            common.say_error(f"no receipt: {kept.why}")
        common.end_policy(policy, session)
    return kept.code


def _check_model(name: str | None) -> None:
    """A prompt in the place of the model's file is no missing file."""
    if not name or os.path.exists(name):
        return
    if any(map(str.isspace, name)) or not (name.endswith(".gguf") or os.sep in name):
        short = name if len(name) <= _SHOWN else name[:_SHOWN] + "..."
        how = "a prompt goes after the model, flyball run MODEL PROMPT, or after -p"
        raise NotFound(repr(short), f"is no model file; {how}, or comes through a pipe")


def _prompt(args: argparse.Namespace) -> str:
    """The prompt of the arguments and, unless -f names a file, the text of a pipe after it."""
    asked = " ".join(args.words) if args.words else args.prompt
    if args.words and (args.prompt is not None or args.file is not None):
        raise InvalidArgument("prompt", "is given twice; give it after the model, or with -p or -f")
    piped = common.read_text(args.file) if args.file is not None else common.piped_text()
    if piped is not None:  # the line break at the end is that of a text file, as in a shell's $(...)
        piped = piped.removesuffix("\n").removesuffix("\r")
    prompt = common.argument_text(DEFAULT_PROMPT if asked is piped is None else _joined(asked or "", piped or ""))
    if not prompt:
        raise InvalidArgument("prompt", "is empty; give at least one character")
    return prompt


def _joined(asked: str, piped: str) -> str:
    between = "\n" if asked and piped and not asked[-1].isspace() else ""
    return asked + between + piped


def _stream(
    model: Model,
    session: Session,
    prompt: str,
    args: argparse.Namespace,
    keywords: GenerateKeywords,
    max_tokens: int,
    progress: common.Progress,
) -> Stream:
    keywords["stop"] = [common.argument_text(stop) for stop in args.stop]
    keywords["deadline"] = args.deadline
    keywords["ignore_eos"] = args.ignore_eos
    keywords["json_schema"] = common.read_text(args.json_schema) if args.json_schema is not None else None
    keywords["grammar"] = common.read_text(args.grammar) if args.grammar is not None else None
    try:
        if args.chat:
            chat = model.chat(session=session)
            chat.variables |= common.template_variables(args)
            return chat.stream(prompt, max_tokens, progress=progress, **keywords)
        return session.stream(prompt, max_tokens, progress=progress, **keywords)
    finally:
        progress.clear()


def _show(stream: Stream, silent: bool) -> Result:
    """Print the answer as it comes. After Ctrl-C, the partial answer still gets its summary and receipt."""
    try:
        for piece in stream:
            if not silent:
                common.write(piece.text)
    except KeyboardInterrupt:
        stream.close()
    return stream.result


def _keep(result: Result, model: Model, args: argparse.Namespace, progress: common.Progress) -> common.Kept:
    if args.no_receipt and args.quiet and not args.json:
        return common.Kept(None, None, common.NOT_WANTED)  # no need to hash the model file
    return common.keep_receipt(result, model, args.receipt, progress, wanted=not args.no_receipt)


def _summary(model: Model, result: Result, kept: common.Kept) -> None:
    metrics, info = result.metrics, model.info
    ghz = metrics.cycles_per_second / 1e9
    common.write("\n")
    name = common.printable(info.name) or info.path
    threads = f"{info.threads} thread" + ("s" if info.threads != 1 else "")
    if info.decode_threads != info.threads:
        threads += f", {info.decode_threads} to decode"
    lines = [
        ("model", f"{name}, {info.architecture} {info.quantization} on {info.isa}, {threads}"),
        ("prefill", _phase(metrics.prefill)),
        ("decode", _phase(metrics.decode)),
        *([("draft tokens", _draft_tokens(metrics.speculation))] if metrics.speculation.drafted else []),
        ("first token", f"{metrics.first_token_ms:.1f} ms; a cycle is a tick of the {ghz:.3f} GHz time-stamp counter"),
        ("stopped", f"{result.stop_reason}, {len(result.tokens)} tokens"),
        *(("governor", sentence) for sentence in common.sentences(result)),
        ("digest", kept.digest or "none"),
        ("receipt", str(kept.path or f"none ({kept.why})")),
    ]
    for label, text in lines:
        common.write(f"{label:12} {text}\n")


def _phase(phase: Phase) -> str:
    if not phase.tokens:
        return "no tokens"
    return (
        f"{phase.tokens} tokens, {common.rate(phase.cycles_per_token)} cycles per token,"
        f" {common.rate(phase.tokens_per_second, 1)} tokens per second"
    )


def _draft_tokens(counts: Speculation) -> str:
    share = 100 * counts.accepted / counts.drafted
    return f"{counts.accepted} of {counts.drafted} accepted ({share:.0f} %), verified in {counts.calls} calls"
