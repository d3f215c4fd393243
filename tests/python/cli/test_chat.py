"""`flyball chat` with a person at a terminal, and with a program at a pipe."""

from __future__ import annotations

import argparse
import json
import re
import stat
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

import flyball
from flyball.cli import common
from flyball.cli.chat import add, commands, quotes, settings
from flyball.cli.chat.conversation import Conversation
from tests.python.engine.forced import forced

from .terminals import PATIENCE, Terminal, flyball_in_a_terminal
from .test_cli import flyball_command
from .test_terminal import escaping  # noqa: F401
from .thinking_model import write_thinking_model

LEFT, UP, TAB, CTRL_C, CTRL_D, ALT_ENTER = "\x1b[D", "\x1b[A", "\t", "\x03", "\x04", "\x1b\r"
DIM = b"\x1b[2m"
GREEDY = ("--temp", "0")
LENGTH = "{{ messages[-1].content|length }}"  # a template with which the longest message has few tokens


def pasted(text: str) -> str:
    """As a terminal sends it: bracketed, with line breaks as the Enter key has them."""
    return "\x1b[200~" + text.replace("\n", "\r") + "\x1b[201~"


def ready(terminal: Terminal, after: int = 0) -> int:
    """Wait for the prompt; gives the position behind it."""
    terminal.wait_for("\x1b[0m>", after)
    return len(terminal.seen)


@pytest.fixture
def chat() -> Iterator[Terminal]:
    with flyball_in_a_terminal("chat", *GREEDY) as terminal:
        ready(terminal)
        yield terminal


def messages(terminal: Terminal, tmp_path: Path) -> list[str]:
    """What was said, by way of /save; ends the program."""
    file = tmp_path / "said.json"
    terminal.type(f"/save {file}\r")
    terminal.wait_for("messages saved")
    terminal.type(CTRL_D)
    assert terminal.end() == 0
    return [message["content"] for message in json.loads(file.read_text())["messages"]]


# ---------------------------------------------------------------- typed


def test_a_line_is_edited_before_it_is_sent(chat: Terminal, tmp_path: Path) -> None:
    chat.type("What is 12 + 3?" + 5 * LEFT + "\x7f9\r")
    chat.wait_for("19 + 3 = 22.")
    assert messages(chat, tmp_path) == ["What is 19 + 3?", "19 + 3 = 22."]


def test_earlier_lines_come_back_in_this_chat_and_the_next(chat: Terminal, tmp_path: Path) -> None:
    chat.type("What is 1 + 1?\r")
    chat.wait_for("1 + 1 = 2.")
    chat.type(UP + 5 * LEFT + "\x7f2\r")
    chat.wait_for("2 + 1 = 3.")
    assert messages(chat, tmp_path)[2] == "What is 2 + 1?"
    file = tmp_path / "state" / "flyball" / "chat_history"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with flyball_in_a_terminal("chat", *GREEDY) as after:
        ready(after)
        after.type(3 * UP + "\r")
        after.wait_for("1 + 1 = 2.")


def test_nohistory_keeps_lines_out_of_the_file(chat: Terminal, tmp_path: Path) -> None:
    chat.type("/set nohistory\rWhat is 1 + 1?\r")
    chat.wait_for("1 + 1 = 2.")
    assert "1 + 1" not in (tmp_path / "state" / "flyball" / "chat_history").read_text()


@pytest.mark.parametrize("state", ["/dev/null", "/proc/none"])
def test_a_folder_that_cannot_be_written_is_no_failure(state: str) -> None:
    with flyball_in_a_terminal("chat", *GREEDY, env={"XDG_STATE_HOME": state}) as terminal:
        ready(terminal)
        terminal.type("What is 1 + 1?\r")
        terminal.wait_for("1 + 1 = 2.")
        before = len(terminal.seen)  # typing reads what is written meanwhile
        terminal.type(UP + "\r")
        terminal.wait_for("1 + 1 = 2.", before)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_a_long_history_loses_its_older_half(tmp_path: Path) -> None:
    file = tmp_path / "state" / "flyball" / "chat_history"
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"\n# 2026-01-01\n+{n} " + "x" * 1000 + "\n" for n in range(5000)))
    with flyball_in_a_terminal("chat", *GREEDY) as terminal:
        ready(terminal)
        terminal.type("/bye\r")
        assert terminal.end() == 0
    kept = file.read_text()
    assert len(kept) < 3 << 20
    assert re.match(r"\n# .*\n\+\d+ x", kept)
    assert kept.endswith("x\n\n# " + kept.rpartition("\n# ")[2])
    assert kept.endswith("\n+/bye\n")


def test_tab_completes_commands_their_words_and_files(chat: Terminal, tmp_path: Path) -> None:
    (tmp_path / "unusual-name.txt").touch()
    chat.type("/set pa" + TAB + "see" + TAB + "7\r/sho" + TAB + "pa" + TAB + "\r")
    chat.wait_for("seed               7")
    chat.type(f"/receipt {tmp_path}/unus" + TAB + "\r")
    chat.wait_for("unusual-name.txt")


def test_control_c_clears_the_line_and_control_d_leaves(chat: Terminal, tmp_path: Path) -> None:
    chat.type("What is 9 + 9?" + CTRL_C + "What is 1 + 1?\r")
    chat.wait_for("1 + 1 = 2.")
    ready(chat, chat.seen.index(b"1 + 1 = 2."))
    chat.type(CTRL_C)
    chat.wait_for("(/bye or Ctrl-D ends)")
    assert messages(chat, tmp_path) == ["What is 1 + 1?", "1 + 1 = 2."]


def test_control_c_stops_an_answer_whose_text_stays(tmp_path: Path) -> None:
    slow = ("--isa", "scalar", "--threads", "1", "--speculate", "off", "-n", "400")
    with flyball_in_a_terminal("chat", *GREEDY, *slow) as terminal:
        at = ready(terminal)
        terminal.type("/set parameter ignore_eos true\rTell me a story about a fox.\r")
        terminal.wait_for("Once upon", at)
        terminal.type(CTRL_C)
        terminal.wait_for("(stopped)")
        question, answer = messages(terminal, tmp_path)
    assert question == "Tell me a story about a fox."
    assert answer.startswith("Once upon")
    assert answer.encode().replace(b"\n", b"\r\n") in terminal.seen  # no more and no less than was shown


def test_control_c_at_any_moment_does_not_leave(chat: Terminal, tmp_path: Path) -> None:
    """People press it just as the answer ends; nothing between an answer and the next prompt may take it for more."""
    for n in range(60):
        before = len(chat.seen)
        chat.type(f"What is {n} + 1?\r")
        chat.wait_for("?2004l", before)  # sent, perhaps already answered
        chat.type(CTRL_C)
    chat.type("What is 20 + 1?\r")
    chat.wait_for("20 + 1 = 21.")
    assert messages(chat, tmp_path)[-1] == "20 + 1 = 21."


def test_what_is_no_utf8_is_said(chat: Terminal) -> None:
    chat.type(b"caf\xe9\r")
    chat.wait_for("is not UTF-8")
    chat.type("/bye\r")
    assert chat.end() == 0


def test_the_terminal_is_left_as_it_was() -> None:
    for end in ("/bye\r", CTRL_D, "/quit\r"):
        with flyball_in_a_terminal("chat") as terminal:
            before = termios.tcgetattr(terminal.fd)
            ready(terminal)
            terminal.type(end)
            assert terminal.end() == 0
            assert termios.tcgetattr(terminal.fd) == before
        assert terminal.seen.rindex(b"\x1b[?2004l") > terminal.seen.rindex(b"\x1b[?2004h")


# ---------------------------------------------------------------- several lines, and long ones


def test_a_paste_is_one_message(chat: Terminal, tmp_path: Path) -> None:
    text = "Summarize this:\n\tFirst line.\n\n  Second line."
    chat.type(pasted(text + "\n"))
    chat.type("\r")
    chat.wait_for("\x1b[?2004l")
    assert messages(chat, tmp_path)[0] == text.replace("\t", "\t")


def test_a_paste_during_an_answer_waits_whole_and_unseen(tmp_path: Path) -> None:
    slow = ("--isa", "scalar", "--threads", "1", "--speculate", "off", "-n", "300")
    text = "line one " + "x" * 6000 + "\nline two"
    with flyball_in_a_terminal("chat", *GREEDY, *slow, "--template", str(template(tmp_path, LENGTH))) as terminal:
        at = ready(terminal)
        terminal.type("/set parameter ignore_eos true\rTell\r")
        terminal.wait_for("Tell", at)
        at = terminal.seen.index(b"Tell", at)
        terminal.wait_for("\x1b[?2004h", at)  # the answer runs
        terminal.type(pasted(text))
        terminal.type("\r")
        begun = terminal.wait_for("(max_tokens)", at)
        assert b"xxx" not in begun.partition(b"(max_tokens)")[0]
        assert b"200~" not in begun
        terminal.wait_for("(max_tokens)", at + len(begun))
        assert messages(terminal, tmp_path)[2] == text


@pytest.mark.parametrize("typed", [False, True], ids=["paste", "typed"])
def test_long_lines_arrive_whole(tmp_path: Path, typed: bool) -> None:
    """A terminal's own line editor keeps 4,095 bytes."""
    line = " ".join(f"w{n:04}" for n in range(1000)) if typed else "\u4f60\u597d" * 10_000
    with flyball_in_a_terminal("chat", "-n", "4", "--template", str(template(tmp_path, LENGTH))) as terminal:
        ready(terminal)
        terminal.type(line if typed else pasted(line))
        before = len(terminal.seen)
        terminal.type("\r")
        terminal.wait_for("?2004l", before)  # sent; a prompt before that is this one, drawn again
        ready(terminal, terminal.seen.index(b"?2004l", before))
        assert messages(terminal, tmp_path)[0] == line


def test_what_is_typed_while_the_model_is_opened_waits_as_well(tmp_path: Path) -> None:
    line = "x" * 6000
    with flyball_in_a_terminal("chat", "-n", "4", "--template", str(template(tmp_path, LENGTH))) as terminal:
        begun = terminal.wait_for("\x1b[?2004h")
        assert b"demonstration" not in begun.partition(b"\x1b[?2004h")[0]
        terminal.type(pasted(line))
        terminal.type("\r")
        assert messages(terminal, tmp_path)[0] == line


QUOTED = [
    ('"""two\rlines"""\r', "two\nlines"),
    ('"""\rtwo\r\rlines\r"""\r', "two\n\nlines"),
    ("two" + ALT_ENTER + "lines\r", "two\nlines"),
    ('"""one""" and more\r', '"""one""" and more'),
    ('what is """ in Python?\r', 'what is """ in Python?'),
]


@pytest.mark.parametrize(("keys", "message"), QUOTED)
def test_several_lines_are_typed(chat: Terminal, tmp_path: Path, keys: str, message: str) -> None:
    chat.type(keys)
    chat.wait_for("\x1b[?2004l")
    assert messages(chat, tmp_path)[0] == message


def test_a_system_message_of_several_lines(chat: Terminal, tmp_path: Path) -> None:
    chat.type('/set system """Be brief.\rBe kind."""\r')
    assert messages(chat, tmp_path) == ["Be brief.\nBe kind."]


def test_text_that_begins_with_a_slash_can_be_a_message(chat: Terminal, tmp_path: Path) -> None:
    code = "/* a comment */\nint main();"
    chat.type("/usr/bin is odd\r /usr/bin is odd\r" + pasted(code) + "\r")
    chat.wait_for("/usr/bin: is not a command; /help lists them, and a space before it makes it a message")
    assert messages(chat, tmp_path)[::2] == [" /usr/bin is odd", code]


def test_quotes() -> None:
    assert [quotes.is_open(text) for text in ('"""', '/system """a', '"""a"""', 'x """', '/save """', "")] == [
        *(True, True, False, False, False, False)
    ]
    assert quotes.unquoted(' """a\n""" ') == "a"
    assert quotes.unquoted('"""') == '"""'


# ---------------------------------------------------------------- how it looks


def template(tmp_path: Path, source: str) -> Path:
    path = tmp_path / "template.jinja"
    path.write_text(source)
    return path


def opening(tmp_path: Path) -> str:
    """A template that begins the answer's thinking."""
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        return str(template(tmp_path, model.info.chat_template + "<think>\n"))


STORY = "Tell me a story about a rabbit.\r"


def thinks(tmp_path: Path) -> tuple[str, ...]:
    """Arguments with which a model thinks before it answers."""
    return (str(write_thinking_model(tmp_path / "thinks.gguf")), "--template", opening(tmp_path), "-n", "30")


def test_thinking_is_dim_and_the_answer_is_not(tmp_path: Path) -> None:
    with flyball_in_a_terminal("chat", *GREEDY, *thinks(tmp_path)) as terminal:
        at = ready(terminal)
        terminal.type(STORY)
        terminal.wait_for("(max_tokens)", at)
    answer = terminal.seen[at:]
    dim = re.findall(rb"\x1b\[2m(.*?)\x1b\[0m", answer, re.S)
    assert b"".join(dim).startswith(b"was a")
    assert b"\r\n\r\nrabbit. She lived" in re.sub(rb"\x1b\[2m.*?\x1b\[0m", b"", answer, flags=re.S)
    assert b"think>" not in answer


@pytest.mark.parametrize("typed", [False, True], ids=["flag", "command"])
def test_thinking_can_be_hidden(tmp_path: Path, typed: bool) -> None:
    args = () if typed else ("--hide-thinking",)
    out, err = talk(*(["/set hide"] if typed else []), STORY.strip(), "/show messages", args=(*args, *thinks(tmp_path)))
    assert err == ""
    shown, said = out.split("> rabbit. She lived")
    assert "was a" not in shown
    assert "think>" not in out
    assert "assistant: was a\nrabbit. She lived" in said  # hidden, not forgotten


def test_results_of_tools_are_given(demo: flyball.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = '<tool_call>{"name": "weather", "arguments": {"city": "\\u001b[31m"}}</tool_call>' * 2
    tools = tmp_path / "tools.json"
    tools.write_text('[{"type": "function", "function": {"name": "weather", "parameters": {}}}]')
    source = demo.info.chat_template + "{% if 0 %}<tool_call>{% endif %}"
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    args = parser.parse_args(["chat", "--tools", str(tools), "--template", str(template(tmp_path, source))])
    conversation = Conversation(args, common.read_settings(args), None)
    conversation.options["logits_processor"] = forced(demo, calls)["logits_processor"]
    conversation.answer("The weather?")
    said = capsys.readouterr().out
    assert said.count('(calls weather {"city": "\\u001b[31m"}; /result TEXT answers)') == 2
    conversation.give_result("Sunny")
    assert "(now the result of weather)" in capsys.readouterr().out
    conversation.options["logits_processor"] = forced(demo, "It is sunny.")["logits_processor"]
    conversation.give_result("Rain")
    assert "It is sunny." in capsys.readouterr().out
    assert [message.role for message in conversation.chat.history] == ["user", "assistant", "tool", "tool", "assistant"]
    with pytest.raises(flyball.InvalidArgument, match="needs an answer that calls a tool"):
        conversation.give_result("x")
    for wrong in ("{", "{}", "[5]"):
        tools.write_text(wrong)
        with pytest.raises(flyball.InvalidArgument, match="JSON"):
            common.read_tools(str(tools))


PLAIN_TERMINALS: list[dict[str, str]] = [{"TERM": "dumb"}, {"NO_COLOR": "1"}]


@pytest.mark.parametrize("env", PLAIN_TERMINALS, ids=str)
def test_plain_terminals_get_plain_text(tmp_path: Path, env: dict[str, str]) -> None:
    with flyball_in_a_terminal("chat", *GREEDY, "--template", opening(tmp_path), env=env) as terminal:
        terminal.wait_for(">")
        terminal.type("What is 2 + 3?\n/undo\n/bye\n")
        assert terminal.end() == 0
    assert b"(taken back: What is 2 + 3?)" in terminal.seen
    assert DIM not in terminal.seen
    assert not re.search(rb"\x1b\[(?!0m)[\d;]*m", terminal.seen) or "TERM" not in env
    if "TERM" in env:
        assert b"\x1b" not in terminal.seen


def test_a_dumb_terminal_says_what_it_has_cut() -> None:
    with flyball_in_a_terminal("chat", "-n", "4", env={"TERM": "dumb"}) as terminal:
        terminal.wait_for("> ")
        terminal.type("x" * 5000 + "\n")
        terminal.wait_for("has a line that the terminal cut at 4095 bytes")


def test_run_says_what_a_terminal_has_cut() -> None:
    with flyball_in_a_terminal("run", "-f", "-") as terminal:
        terminal.type("short\n" + "x" * 5000 + "\n" + CTRL_D)
        assert terminal.end() == 2
    assert b"has a line that the terminal cut at 4095 bytes; use a file or a pipe" in terminal.seen


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (3, 9)], ids=str)
def test_terminals_of_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    with flyball_in_a_terminal("chat", *GREEDY, size=size) as terminal:
        terminal.wait_for("commands.")
        terminal.type("What is 1 + 1?\r")
        assert messages(terminal, tmp_path)[0] == "What is 1 + 1?"


def test_a_terminal_that_goes_away_ends_the_chat() -> None:
    with flyball_in_a_terminal("chat", *GREEDY) as terminal:
        ready(terminal)
        terminal.hang_up()
        assert terminal.child.wait(timeout=PATIENCE) in (0, 2, -1)


def test_a_model_gives_the_terminal_no_commands(escaping: Path) -> None:  # noqa: F811
    with flyball_in_a_terminal("chat", str(escaping), *GREEDY, "-n", "100") as terminal:
        ready(terminal)
        terminal.type("Tell me a story about a rabbit.\r")
        terminal.wait_for("there was a\u241b")
        terminal.type("/show messages\r/bye\r")
        assert terminal.end() == 0
    assert terminal.seen.count("\u241b".encode()) >= 2
    assert b"there was a\x1b" not in terminal.seen


# ---------------------------------------------------------------- commands, at a pipe


def talk(*lines: str, args: tuple[str, ...] = (), cwd: Path | None = None) -> tuple[str, str]:
    """What a chat prints when these lines are piped to it."""
    done = flyball_command("chat", *GREEDY, *args, stdin="".join(f"{line}\n" for line in lines), cwd=cwd)
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout + done.stderr
    return done.stdout.decode(), done.stderr.decode()


def test_a_pipe_has_a_message_per_line(tmp_path: Path) -> None:
    out, err = talk("What is 1 + 1?", '"""What', "", "/save it.json", cwd=tmp_path)
    assert err == ""
    assert out.count("> ") == 5
    said = json.loads((tmp_path / "it.json").read_text())["messages"]
    assert [message["content"] for message in said[::2]] == ["What is 1 + 1?", '"""What']


def test_a_conversation_is_saved_and_goes_on(tmp_path: Path) -> None:
    talk("What is 1 + 1?", "/save it.json", cwd=tmp_path)
    out, err = talk("/load it.json", "/show messages", "/undo", "/save it.json", "/load none.json", cwd=tmp_path)
    assert "user: What is 1 + 1?\nassistant: 1 + 1 = 2.\n" in out
    assert "(2 messages loaded" in out
    assert json.loads((tmp_path / "it.json").read_text())["messages"] == []
    assert "none.json: does not exist" in err


def test_a_loaded_conversation_has_the_digest_of_the_first(tmp_path: Path) -> None:
    talk("What is 1 + 1?", "/save it.json", "And 2 + 2?", "/receipt one.json", cwd=tmp_path)
    talk("/load it.json", "And 2 + 2?", "/receipt two.json", cwd=tmp_path)
    one, two = (flyball.Receipt.load(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert one.digest == two.digest


def test_retry_draws_other_tokens_and_says_with_which_seed(tmp_path: Path) -> None:
    tell = ("Tell me a story about a fox.", "/save one.json", "/retry", "/save two.json", "/receipt r.json")
    out, _ = talk("/set parameter temperature 1", "/set parameter max_tokens 30", *tell, cwd=tmp_path)
    assert "(seed 1)" in out
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["messages"] for name in ("one", "two"))
    assert one[0] == two[0]
    assert one[1] != two[1]
    assert len(two) == 2
    assert flyball.verify(tmp_path / "r.json")
    out, err = talk("/retry", "What is 1 + 1?", "/retry")
    assert "no user message" in err
    assert "(temperature 0: the same answer again)" in out


def test_a_retry_that_fails_changes_nothing(tmp_path: Path) -> None:
    lines = ("What is 1 + 1?", "/set parameter top_p 7", "/retry", "/save it.json")
    _, err = talk(*lines, cwd=tmp_path)
    assert "top_p" in err
    assert len(json.loads((tmp_path / "it.json").read_text())["messages"]) == 2


def test_settings_are_set_and_shown() -> None:
    out, err = talk(
        *("/set parameter num_predict 3", "/set parameter stop ###", "/set parameter seed 5", "/show parameters"),
        *("/set system Be brief.", "/show system", "/show", "/show template", "/set verbose", "Hello", "/set quiet"),
        *("/set nothink", "/set variable effort 3", "/show variables", "/?"),
    )
    assert err == ""
    for shown in (r"max_tokens +3\n", r"stop +###\n", r"seed +5\n"):
        assert re.search(shown, out)
    for shown in ("Be brief.\n", "Flyball Demo"):
        assert shown in out
    for shown in ("(max_tokens)", "3 of answer", '"enable_thinking": false', '"effort": 3', "does not use effort"):
        assert shown in out
    assert "messages      1, 0 of them left out" in out


WRONG = [
    ("/set", "needs one of parameter, system"),
    ("/set nonsense", "needs one of parameter, system"),
    ("/set parameter", "there are max_tokens"),
    ("/set parameter nonsense 1", "has no 'nonsense'"),
    ("/set parameter seed", "needs a value"),
    ("/set parameter seed much", "is 'much', must be an integer"),
    ("/set parameter temperature [1]", "must be a number"),
    ("/set parameter max_tokens 0", "max_tokens: is 0"),
    ("/set parameter num_ctx 9", "flyball chat --ctx N"),
    ("/set variable effort low", "must be JSON"),
    ("/set variable", "must be JSON"),
    ("/show nonsense", "needs one of info"),
    ("/save", "needs a file name"),
    ("/load /", "cannot be read"),
    ("/undo", "no user message"),
    ("/receipt x", "need an answer"),
    ("/result x", "needs an answer that calls a tool"),
    ("/sett", "is not a command"),
]


def test_wrong_commands_say_what_is_right() -> None:
    _, err = talk(*(line for line, _ in WRONG))
    said = err.splitlines()
    assert len(said) == len(WRONG)
    for (line, wanted), found in zip(WRONG, said, strict=True):
        assert wanted in found, line


def test_every_command_is_listed_and_completed() -> None:
    listed = set(re.findall(r"(?<![\w/])/\w+", commands.HELP)) | {"/?", "/exit"}
    assert set(commands.next_words([])) == listed
    for what in settings.SET:
        assert re.search(rf"^/set .*\b{what}\b", commands.HELP, re.MULTILINE), what
    assert ", ".join(settings.SHOW) in commands.HELP
    assert max(map(len, commands.HELP.splitlines())) <= 80


def test_the_template_gets_its_variables(tmp_path: Path) -> None:
    source = "{{ messages[-1].content }}{% if not enable_thinking %} quickly{% endif %} {{ effort }}"
    given = ("--template", str(template(tmp_path, source)), "--template-var", "enable_thinking=false")
    talk("Go", "/receipt r.json", args=(*given, "--template-var", 'effort="low"', "-n", "2"), cwd=tmp_path)
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        assert model.detokenize(flyball.Receipt.load(tmp_path / "r.json")["prompt_tokens"]) == "Go quickly low"
    for wrong in ("enable_thinking", "enable_thinking=False", "=1"):
        done = flyball_command("chat", "--template-var", wrong)
        assert (done.returncode, b"JSON" in done.stderr) == (2, True)


# ---------------------------------------------------------------- a full context


def test_a_full_context_leaves_the_oldest_turns_out_and_says_so_once(tmp_path: Path) -> None:
    lines = [f"What is {n} + 1?" for n in range(30)]
    out, err = talk(*lines, "/show", "/save it.json", args=("--system", "Be brief.", "--ctx", "128"), cwd=tmp_path)
    assert err == ""
    assert out.count("(context full: oldest turns left out until half is free; system message stays)\n") == 1
    assert out.count("more messages are left out") > 1
    assert "29 + 1 = 30." in out
    saved = json.loads((tmp_path / "it.json").read_text())
    assert len(saved["messages"]) == 61
    assert saved["left_out"] > 40


def test_a_message_that_never_fits_is_an_error_that_says_so() -> None:
    out, err = talk("word " * 2000, "What is 1 + 1?")
    assert re.search(r"message: has \d+ tokens", err)
    assert "1 + 1 = 2." in out
