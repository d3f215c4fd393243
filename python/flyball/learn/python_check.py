"""Whether Python in an answer is Python, and does what its own doctests say. A model's code is untrusted.

It runs only if all that it can reach is harmless: imports from a short list, no names or attributes that begin with an
underscore, none of the builtins that read, write or evaluate; and then in a process of its own without files, with
bounds on time and memory.
"""

from __future__ import annotations

import ast
import doctest
import re
import secrets
import subprocess
import sys
import tempfile

_MODULES = {
    "bisect", "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq",
    "itertools", "json", "math", "random", "re", "statistics", "string", "textwrap", "typing",
}  # fmt: skip
_FORBIDDEN = {
    "breakpoint", "compile", "delattr", "eval", "exec", "exit", "getattr", "globals", "help", "input", "locals",
    "memoryview", "open", "quit", "setattr", "vars",
    # reach attributes by their names as texts, or evaluate texts
    "Formatter", "ForwardRef", "get_type_hints", "singledispatch", "singledispatchmethod",
}  # fmt: skip
# Modules have others as attributes: dataclasses.sys.modules would be the way out. Two are methods' names as well.
_REACHED = sys.stdlib_module_names - _MODULES - {"copy", "time"}
_FRAMES = re.compile(r"(?:ag|cr|gi|tb|f)_(?:frame|back|globals|locals|builtins|code|next)")
_SECONDS, _MEGABYTES = 10, 512
# The code gets no way to say `passed` itself: the word is random, and read before the code begins.
_RUNNER = """
import doctest, resource, sys, types
word, seconds, megabytes = sys.stdin.readline().split()
source = sys.stdin.read()
for what, most in ((resource.RLIMIT_CPU, int(seconds)), (resource.RLIMIT_AS, int(megabytes) << 20),
                   (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
    resource.setrlimit(what, (most, most))
module = types.ModuleType("answer")
out, sys.stdout = sys.stdout, open("/dev/null", "w")
try:
    exec(compile(source, "answer", "exec"), module.__dict__)
    done = doctest.testmod(module)
    fine = done.attempted > 0 and done.failed == 0
except BaseException:
    fine = False
if fine:
    out.write(word)
"""


def code_of(text: str) -> str:
    """The code of an answer: its fenced blocks, or all of it."""
    blocks = re.findall(r"```(?:python|py)?[ \t]*\n(.*?)```", text, re.DOTALL)
    return "\n\n".join(blocks) if blocks else text


def fault(text: str, run: bool) -> str:
    """Why the Python of an answer is not accepted, or "". `run`: its doctests must pass, one at least."""
    source = code_of(text)
    if not source.strip():
        return "has no code"
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"is not Python: {error}"
    if not run:
        return ""
    examples = [each for text in _strings(tree) for each in _examples(text)]
    if not examples:
        return "has no doctest"
    for each in (source, *examples):
        if reason := _harm(each):
            return reason
    return "" if _passes(source) else "fails its doctests"


def _strings(tree: ast.AST) -> list[str]:
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _examples(text: str) -> list[str]:
    try:
        return [example.source for example in doctest.DocTestParser().get_examples(text)]
    except ValueError:
        return [">>>"]  # no Python, so that it is refused


def _harm(source: str) -> str:
    """What code could do that an exercise need not, or ""."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "has a doctest that is not Python"
    for node in nodes:
        for name in _imported(node):
            if name not in _MODULES and name != "collections.abc":
                return f"imports {name}"
        for name in _attributes(node):
            if name.startswith("_") or name in _FORBIDDEN | _REACHED or _FRAMES.fullmatch(name):
                return f"uses {name}"
        if isinstance(node, ast.Name) and (node.id.startswith("__") or node.id in _FORBIDDEN):
            return f"uses {node.id}"
    return ""


def _imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    return [node.module or "."] if isinstance(node, ast.ImportFrom) else []


def _attributes(node: ast.AST) -> list[str]:
    """The attributes that a node names."""
    if isinstance(node, ast.ImportFrom):
        return [each.name for each in node.names]
    if isinstance(node, ast.MatchClass):
        return node.kwd_attrs
    return [node.attr] if isinstance(node, ast.Attribute) else []


def _passes(source: str) -> bool:
    word = secrets.token_hex(16)
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _RUNNER],
                input=f"{word} {_SECONDS} {_MEGABYTES}\n{source}".encode(),
                capture_output=True, timeout=3 * _SECONDS, cwd=folder, env={}, check=False,
            )  # fmt: skip
        except (subprocess.TimeoutExpired, UnicodeEncodeError):
            return False
    return done.stdout == word.encode()
