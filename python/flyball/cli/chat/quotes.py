'''Several lines between """ and """ are one message.'''

from __future__ import annotations

_QUOTES = '"""'
_BEFORE: tuple[list[str], ...] = ([], ["/system"], ["/set", "system"])  # the words that may stand before them


def is_open(text: str) -> bool:
    '''Whether a """ has begun several lines and none has ended them yet.'''
    return text.count(_QUOTES) % 2 == 1 and text.partition(_QUOTES)[0].split() in _BEFORE


def unquoted(text: str) -> str:
    '''The text between """ and """, if it stands between them.'''
    inner = text.strip().removeprefix(_QUOTES).removesuffix(_QUOTES)
    return inner.strip("\n") if text.strip() == _QUOTES + inner + _QUOTES else text
