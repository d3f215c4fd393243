"""Reads an answer as it comes: tokens and text in, what they add to content, thoughts and calls out.

An answer is read character by character, so that no cut of the stream can change what comes out. Nothing is taken back:
what could become a tag is held until it is one or cannot be, and a call is held until it is whole. What is no valid
call, however it begins, is content, as the model wrote it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .forms import CONTENT, REASONING, CallForm, Channels, Route, Tagged
from .parts import Answer, Delta, ToolCall
from .readers import Incomplete
from .symbols import Aligned, Symbols, Vocabulary
from .values import Types

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 9  # and letters or digits: some templates refuse others
_BETWEEN = "\n\n"  # between two texts of a kind with something else between them


class AnswerParser:
    """Reads one answer: made by ChatFormat.parser() or Chat.parser(), for one thread.

    feed() takes each step's token and text, finish() ends the answer; both give deltas, and the texts of all deltas
    joined are those of `answer`.
    """

    def __init__(
        self,
        form: Tagged | Channels,
        prompt: Sequence[int] = (),
        tools: Iterable[Mapping[str, Any]] | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        vocabulary = vocabulary or Vocabulary()
        self._symbols = Symbols(form.tags, vocabulary.controls.values())
        self._aligned = Aligned(vocabulary, self._symbols, list(prompt)[-1:])
        self._tools = list(tools or ())
        self._seed = hashlib.sha256(repr(list(prompt)).encode()).digest()
        self._new: list[tuple[str, list[str]] | Delta] = []  # since the last step: texts in pieces, and calls
        self._texts: dict[str, list[str]] = {CONTENT: [], REASONING: []}
        self._calls: list[ToolCall] = []
        self._space = ""  # held: it goes if a tag follows
        self._fresh = False  # a tag was just there: space goes, too
        self._finished = False

    @property
    def answer(self) -> Answer:
        """What was read so far."""
        return Answer("".join(self._texts[CONTENT]), "".join(self._texts[REASONING]), tuple(self._calls))

    def feed(self, token: int | None, text: str) -> list[Delta]:
        """The next step of a stream: its token (None if it has none), and its text, which may be of earlier tokens."""
        for character in self._aligned.next(token, text):
            self._take(character)
        return self._given()

    def finish(self) -> list[Delta]:
        """The answer has ended: what was held back is given as what it is."""
        if not self._finished:
            self._finished = True
            self._end()
        return self._given()

    def _take(self, character: str) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError

    def _given(self) -> list[Delta]:
        new, self._new = self._new, []
        return [each if isinstance(each, Delta) else _delta(each[0], "".join(each[1])) for each in new]

    def _cut(self) -> None:
        """A tag is here: the space around it belongs to neither side."""
        self._space, self._fresh = "", True

    def _write(self, kind: str, text: str) -> None:
        """Add characters to a text. Space is held until something follows it."""
        for character in text:
            if character.isspace():
                self._space += "" if self._fresh else character
                continue
            before = _BETWEEN if self._fresh and self._texts[kind] else self._space
            self._space, self._fresh = "", False
            self._give(kind, before + self._symbols.text(character))

    def _flush(self, kind: str) -> None:
        """The answer ends with space."""
        if self._space:
            self._give(kind, self._space)
            self._space = ""

    def _give(self, kind: str, text: str) -> None:
        self._texts[kind].append(text)
        if self._new and not isinstance(last := self._new[-1], Delta) and last[0] == kind:
            last[1].append(text)
        else:
            self._new.append((kind, [text]))

    def _call(self, call: ToolCall) -> None:
        index = len(self._calls)
        call = ToolCall(self._symbols.text(call.name), self._symbols.text(call.json), call.id or self._new_id(index))
        self._calls.append(call)
        self._new.append(Delta(tool_call=call, index=index))

    def _new_id(self, index: int) -> str:
        """The same for the same prompt: an id becomes part of later prompts."""
        number = int.from_bytes(hashlib.sha256(self._seed + index.to_bytes(4)).digest(), "little")
        return "".join(_ALPHABET[number // len(_ALPHABET) ** i % len(_ALPHABET)] for i in range(_ID_LENGTH))


def _delta(kind: str, text: str) -> Delta:
    return Delta(content=text) if kind == CONTENT else Delta(reasoning_content=text)


class TaggedParser(AnswerParser):
    """Of answers whose thoughts and calls stand between tags."""

    def __init__(
        self,
        form: Tagged,
        prompt: Sequence[int] = (),
        tools: Iterable[Mapping[str, Any]] | None = None,
        vocabulary: Vocabulary | None = None,
        tail: str = "",
    ) -> None:
        """`tail`: the end of the prompt's text, which may open the model's thoughts."""
        super().__init__(form, prompt, tools, vocabulary)
        tag = self._symbols
        self._opens = {tag(each.open): (tag(each.open), tag(each.close)) for each in form.thinking}
        self._drops = {tag(each) for each in form.drops}
        self._forms: dict[str, CallForm] = {}
        closing = (each for each in form.call_drops if each.startswith(("</", "<|/")))
        self._behind = set(map(tag, closing))  # tags only right after a call
        if self._tools:
            self._forms = {tag(each.open): each for each in form.calls}
            self._drops |= {tag(each) for each in form.call_drops}
        self._readers = {each: each.reader(self._symbols, self._tools) for each in form.calls}
        self._closes = {each: tuple(map(tag, each.closes)) for each in form.calls}
        self._content_tags = _Tags((*self._opens, *self._drops, *self._forms))
        self._reasoning_tags = {pair: _Tags(pair) for pair in self._opens.values()}
        self._held = ""  # what may become a tag
        self._thinking: tuple[str, str] | None = None
        self._open = ""  # of the call that is being read
        self._body: list[str] = []
        self._depth = _Depth()
        self._begun: tuple[str, bool] = "", False  # space before that call
        for each in form.thinking:
            if tail.rstrip().endswith(each.open.rstrip()):
                self._thinking = self._opens[tag(each.open)]
                self._cut()

    def _take(self, character: str) -> None:
        if self._open:
            self._take_of_call(character)
            return
        tags = self._reasoning_tags[self._thinking] if self._thinking else self._content_tags
        self._held += character
        while self._held:
            if self._held in tags.whole and self._counts(self._held):
                found, self._held = self._held, ""
                self._tag(found)
                return
            if self._held in tags.beginnings:
                return
            self._write(self._kind, self._held[0])
            self._held = self._held[1:]

    @property
    def _kind(self) -> str:
        return REASONING if self._thinking else CONTENT

    def _counts(self, tag: str) -> bool:
        if self._thinking:  # an opening tag only if the model repeats the prompt's
            return tag == self._thinking[1] or (self._fresh and not self._texts[REASONING])
        if tag in self._behind:
            return self._fresh and bool(self._calls)
        form = self._forms.get(tag)
        return form is None or not form.first or not self._texts[CONTENT]

    def _tag(self, tag: str) -> None:
        if self._thinking:
            self._thinking = self._thinking if tag == self._thinking[0] else None
        elif tag in self._forms:
            self._open, self._body, self._depth = tag, [], _Depth()
            self._begun = self._space, self._fresh
            if self._forms[tag].keep_open:
                for character in tag:
                    self._take_of_call(character)
            return
        elif tag in self._opens:
            self._thinking = self._opens[tag]
        self._cut()

    def _take_of_call(self, character: str) -> None:
        self._body.append(character)
        form = self._forms[self._open]
        if form.json:
            ended = self._depth.closes(character)
        else:
            ended = any(character == close[-1] and self._ends_with(close) for close in self._closes[form])
        if ended:
            self._read(final=False)

    def _ends_with(self, close: str) -> bool:
        tail, n = "", len(self._body)
        while len(tail) < len(close) and n:
            n -= 1
            tail = self._body[n][-len(close) :] + tail
        return tail.endswith(close)

    def _read(self, final: bool) -> None:
        """The call may be whole."""
        form, body = self._forms[self._open], "".join(self._body)
        self._body = [body]  # the next time it is not joined character by character
        for close in () if form.keep_open else self._closes[form]:
            body = body.removesuffix(close)
        try:
            calls = self._readers[form](body, final)
        except Incomplete:
            if not final:
                return
            calls = None
        if calls is None:
            self._no_call()
            return
        self._open = ""
        self._cut()
        for call in calls:
            self._call(call)

    def _no_call(self) -> None:
        """What was held is content, up to the last place where another call may begin."""
        form = self._forms[self._open]
        opened, body = self._open, "".join(self._body)
        whole = body if form.keep_open else opened + body
        self._open = ""
        self._space, self._fresh = self._begun
        at = max((whole.rfind(tag, 1) for tag, each in self._forms.items() if not each.first), default=-1)
        literal, again = (whole[:at], whole[at:]) if at > 0 else (whole, "")
        self._write(CONTENT, literal)
        for character in again:
            self._take(character)

    def _end(self) -> None:
        if self._open:
            self._read(final=True)
        if self._open:  # another call began in what was none
            self._read(final=True)
        self._write(self._kind, self._held)
        self._held = ""
        self._flush(self._kind)


class _Tags:
    """Tags to look for, and their beginnings."""

    def __init__(self, tags: Iterable[str]) -> None:
        self.whole = {tag for tag in tags if tag}
        self.beginnings = {tag[:n] for tag in self.whole for n in range(1, len(tag))}


class _Depth:
    """Tells where a JSON value may end, one character after the other."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False

    def closes(self, character: str) -> bool:
        if self._quoted:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            else:
                self._quoted = character != '"'
        elif character == '"':
            self._quoted = self._depth > 0
        elif character in "[{":
            self._depth += 1
        elif character in "]}":
            self._depth -= 1
            return self._depth <= 0
        return False


class ChannelParser(AnswerParser):
    """Of answers that are messages with a header, which says to whom each of them goes (harmony)."""

    def __init__(
        self,
        form: Channels,
        prompt: Sequence[int] = (),
        tools: Iterable[Mapping[str, Any]] | None = None,
        vocabulary: Vocabulary | None = None,
        tail: str = "",
    ) -> None:
        super().__init__(form, prompt, tools, vocabulary)
        tag = self._symbols
        self._form = form
        self._names = Types(self._tools).names
        self._header_ends, self._ends, self._starts = ({tag(t) for t in each} for each in form.delimiters)
        self._marks = [tag(each) for each in form.marks]
        self._reader = form.reader(self._symbols, self._tools)
        self._tags = _Tags(self._header_ends | self._ends | self._starts)
        self._in_header = True
        self._header: list[str] = []
        self._route: Route = CONTENT
        self._body: list[str] = []
        self._held = ""

    def _take(self, character: str) -> None:
        self._held += character
        while self._held:
            if self._held in self._tags.whole:
                found, self._held = self._held, ""
                self._tag(found)
                return
            if self._held in self._tags.beginnings:
                return
            self._add(self._held[0])
            self._held = self._held[1:]

    def _tag(self, tag: str) -> None:
        if not self._in_header:
            if tag in self._header_ends:  # in a body it is text
                self._add(tag)
                return
            self._end_body()
            self._in_header, self._header = True, [tag]
        elif tag in self._header_ends:
            self._begin_body(tag)
        elif tag in self._ends:
            self._end_header()
        else:
            if self._form.literal:
                self._write(CONTENT, "".join(self._header))
                self._header = []
            self._header.append(tag)

    def _begin_body(self, end: str) -> None:
        header, self._header = "".join(self._header), []
        route = self._form.route(self._plain(header), self._names)
        self._in_header, self._body, self._route = False, [], CONTENT if route is None else route
        if route is None and self._form.literal:
            self._write(CONTENT, header + end)
        else:
            self._cut()

    def _end_header(self) -> None:
        """A header without a message: what the model wrote there is content, but for the marks of the format."""
        header, self._header = "".join(self._header), []
        text = header if self._form.literal else self._plain(header)
        if any(word not in self._form.words and not word.startswith("to=") for word in text.split()):
            self._cut()
            self._write(CONTENT, text)

    def _plain(self, header: str) -> str:
        for mark in (*self._marks, *self._starts, *self._ends):
            header = header.replace(mark, " ")
        return header

    def _add(self, text: str) -> None:
        if self._in_header:
            self._header.append(text)
        elif isinstance(self._route, tuple):
            self._body.append(text)
        else:
            self._write(self._route, text)

    def _end_body(self) -> None:
        if not isinstance(self._route, tuple):
            if not self._form.literal:
                self._cut()
            return
        body = "".join(self._body)
        try:
            calls = self._reader(body, True, *self._route)
        except Incomplete:
            calls = None
        for call in calls or ():
            self._call(call)
        if calls is None:
            self._write(CONTENT, body)
        self._body = []

    def _end(self) -> None:
        for character in self._held:
            self._add(character)
        self._held = ""
        if self._in_header:
            self._end_header()
            self._flush(CONTENT)
        elif isinstance(self._route, tuple):
            self._end_body()
        else:
            self._flush(self._route)
