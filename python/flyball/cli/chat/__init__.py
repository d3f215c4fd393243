"""`flyball chat`: a conversation in the model's own chat template."""

from __future__ import annotations

import argparse
import sys

from .. import common
from ..terminal import is_terminal


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "chat", help="chat with a model", description=__doc__, parents=[common.MODEL, common.TEMPLATE_VARIABLES]
    )
    parser.add_argument("--system", metavar="TEXT", help="the system message")
    parser.add_argument("--template", metavar="FILE", help="a Jinja chat template instead of the model's own")
    parser.add_argument("--tools", metavar="FILE", help="tools that the model may call: a JSON list of OpenAI's form")
    parser.add_argument("--hide-thinking", action="store_true", help="show the model's answers without its thoughts")
    parser.add_argument("--memory", action="store_true", help="answers use what is remembered of you; /remember adds")
    parser.add_argument("-n", dest="max_tokens", metavar="TOKENS", help="maximum tokens per answer (default: 512)")
    common.add_flags(parser, (*common.MODEL_FLAGS, *common.SAMPLING_FLAGS))
    common.add_journal_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the conversation until the user ends it."""
    from . import keyboard, lines  # here, so that other commands do not import it
    from .conversation import Conversation
    from .screen import obeys

    settings = common.read_settings(args)
    with common.open_journal(args, settings) as journal:
        if is_terminal(sys.stdin) and is_terminal(sys.stdout) and obeys():
            from .editor import Editor  # imports prompt_toolkit

            with keyboard.quiet():  # from now on, since a model may take long to open
                conversation = Conversation(args, settings, journal)
                lines.talk(conversation, Editor(conversation).read)
        else:
            conversation = Conversation(args, settings, journal)
            lines.talk(conversation, lines.read)
        conversation.end()
    return common.SUCCESS
