"""The lines of a conversation that begin with a slash."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ...engine.options import speculation
from ...errors import InvalidArgument
from .. import common
from . import judging, settings
from .conversation import Conversation

HELP = '''/help                    this list
/set parameter NAME X    temperature, top_k, seed, max_tokens, stop, ...
/set system TEXT         another system message; the conversation goes on
/set think, nothink      whether a model that can think does
/set hide, unhide        whether thoughts are left out of what is shown
/set variable NAME JSON  a variable of the chat template
/set verbose, quiet      counts after each answer, or not
/set history, nohistory  whether lines are kept for the next time
/show [WHAT]             info, parameters, system, messages, template, variables
/save FILE               write the conversation to a file
/load FILE               go on with a conversation from a file
/undo                    take back the last message and its answer
/result TEXT             the result of the tool that the model calls
/retry                   answer the last message again, with the next seed
/clear                   forget the conversation (the system message stays)
/system TEXT             start over with this system message
/seed N                  draw other tokens
/remember TEXT           remember a fact of you (flyball chat --memory)
/speculate [HOW]         verify draft tokens, several at once: auto, off, always
/adapter [FILE[:SCALE]]  a LoRA adapter of the model from now on; - for none
/good, /bad [REASON]     what you say of the last answer is kept to learn from
/correct TEXT            the last answer should have been TEXT
/explain                 what was decided about the last answer, and why
/metrics                 counts of the last answer and of the session
/receipt FILE            write the last answer's receipt
/bye                     end (also /quit, Ctrl-D)

Enter sends, Alt-Enter breaks the line. A pasted text is one message, and so is
what stands between """ and """. Arrow keys edit and recall what was sent, Tab
completes commands. Ctrl-C stops an answer or clears the line, Ctrl-D ends.'''

_ENDS = ("/bye", "/quit", "/exit")
_SHOWN = 60  # characters of a message that is taken back
FILES = ("FILE",)  # the words that may follow: names of files


def is_command(text: str) -> bool:
    """Whether a text is for run(): it begins with a slash, and if it has several lines, with a known command."""
    return text.startswith("/") and ("\n" not in text or text.split(maxsplit=1)[0] in COMMANDS)


def run(conversation: Conversation, line: str) -> bool:
    """Run a line; False ends the conversation."""
    name, _, rest = line.partition(" ")
    if name in _ENDS:
        return False
    if name not in COMMANDS:
        raise InvalidArgument(name, "is not a command; /help lists them, and a space before it makes it a message")
    COMMANDS[name](conversation, rest.strip())
    return True


def next_words(before: Sequence[str]) -> Sequence[str]:
    """The words that may follow the words of a line; FILES where a file is named."""
    match before:
        case []:
            return (*COMMANDS, *_ENDS)
        case ["/set"]:
            return tuple(settings.SET)
        case ["/set", "parameter"]:
            return settings.PARAMETERS
        case ["/show"]:
            return tuple(settings.SHOW)
        case ["/speculate"]:
            return ("auto", "off", "always")
        case ["/save" | "/load" | "/receipt" | "/adapter"]:
            return FILES
    return ()


def _help(_: Conversation, __: str) -> None:
    common.write(HELP + "\n")


def _clear(conversation: Conversation, _: str) -> None:
    conversation.chat.reset()
    conversation.screen.note("the conversation is forgotten; the system message stays")


def _undo(conversation: Conversation, _: str) -> None:
    taken = common.printable(str(conversation.chat.undo()[0].content))
    conversation.last = None
    conversation.screen.note(f"taken back: {taken if len(taken) <= _SHOWN else taken[:_SHOWN] + '...'}")


def _system(conversation: Conversation, text: str) -> None:
    settings.set_system(conversation, text)
    conversation.chat.reset()


def _save(conversation: Conversation, name: str) -> None:
    path = conversation.chat.save(_file("/save", name))
    conversation.screen.note(f"{len(conversation.chat.history)} messages saved to {path}; /load goes on with them")


def _load(conversation: Conversation, name: str) -> None:
    conversation.chat.load(_file("/load", name))
    conversation.last = None
    conversation.screen.note(f"{len(conversation.chat.history)} messages loaded; /show messages lists them")


def _receipt(conversation: Conversation, name: str) -> None:
    common.write(f"{conversation.last_answer().receipt.save(_file('/receipt', name))}\n")


def _file(command: str, name: str) -> str:
    if not name:
        raise InvalidArgument(command, "needs a file name")
    return os.path.expanduser(common.argument_text(name))


def _remember(conversation: Conversation, text: str) -> None:
    if not text:
        raise InvalidArgument("/remember", "needs a text")
    item = conversation.memory().remember(common.argument_text(text))
    conversation.screen.note(f"remembered as {item.id}; flyball memory forget {item.id} deletes it")


def _seed(conversation: Conversation, word: str) -> None:
    if not word.isdecimal():
        raise InvalidArgument("/seed", "needs a number")
    settings.set_parameter(conversation, f"seed {word}")


def _speculate(conversation: Conversation, how: str) -> None:
    options = conversation.options
    options["speculate"] = speculation(how or options["speculate"])
    common.write(f"speculate {options['speculate']}{', with a draft model' if options['draft'] else ''}\n")


def _adapter(conversation: Conversation, argument: str) -> None:
    session = conversation.chat.session
    if argument == "-":
        session.set_adapter(None)
    elif argument:
        session.set_adapter(*common.load_adapter(conversation.model, _file("/adapter", argument)))
    used = session.adapter
    common.write("no adapter\n" if used is None else f"adapter {used.path}, scale {session.adapter_scale:g}\n")


def _metrics(conversation: Conversation, _: str) -> None:
    counts = conversation.last_answer().metrics.as_dict()
    common.write_json(counts | {"session": conversation.chat.session.metrics.as_dict()})


def _explain(conversation: Conversation, _: str) -> None:
    """Explain the decisions during and after the last answer, in sentences."""
    lines = common.sentences(conversation.last_answer())
    if conversation.policy:
        from ...journal.events import REASONS

        lines += [f"the policy: {REASONS[reason].meaning}" for reason in conversation.policy.state.last_reasons]
    common.write("\n".join(f"  {each}" for each in lines) + "\n" if lines else "no decisions\n")


COMMANDS: dict[str, Callable[[Conversation, str], None]] = {
    "/help": _help,
    "/?": _help,
    "/set": settings.set_,
    "/show": settings.show,
    "/save": _save,
    "/load": _load,
    "/undo": _undo,
    "/result": lambda conversation, text: conversation.give_result(text),
    "/retry": lambda conversation, _: conversation.retry(),
    "/clear": _clear,
    "/system": _system,
    "/seed": _seed,
    "/remember": _remember,
    "/speculate": _speculate,
    "/adapter": _adapter,
    "/good": lambda conversation, reason: judging.rate(conversation, "good", reason),
    "/bad": lambda conversation, reason: judging.rate(conversation, "bad", reason),
    "/correct": judging.correct,
    "/explain": _explain,
    "/metrics": _metrics,
    "/receipt": _receipt,
}
