"""The four task families beside stories. Each draws a `Case`: prompt, answer, and the facts to check an answer by."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from typing import Any

from stories import expand, polish, words


@dataclass(frozen=True)
class Case:
    """One question and one right answer; `key` decides whether it is held out, `facts` serve the checker."""

    family: str
    key: tuple[Any, ...]
    prompt: str
    answer: str
    facts: dict[str, Any] = field(default_factory=dict)
    system: str = ""


# ---------------------------------------------------------------- arithmetic

ADD = "[What is|How much is|Calculate|Work out|] [{a} + {b}|{a} + {b}|{a} plus {b}|{a}+{b}][?|?|]"
SUB = "[What is|How much is|Calculate|Work out|] [{a} - {b}|{a} - {b}|{a} minus {b}|{a}-{b}][?|?|]"
MUL = "[What is|How much is|Calculate|Work out|] [{a} x {b}|{a} x {b}|{a} times {b}|{a}x{b}|{a} * {b}][?|?|]"
LARGER = "[Which is larger|Which number is bigger|What is the larger number], {a} or {b}?"
SMALLER = "[Which is smaller|Which number is less|What is the smaller number], {a} or {b}?"
WORD_ADD = (
    "{n} has {a} {things} and gets {b} more. How many {things} does {n} have now?",
    "There are {a} {things} in one box and {b} in another. How many are there in all?",
)
WORD_SUB = (
    "{n} has {a} {things} and gives away {b}. How many {things} are left?",
    "There are {a} {things}. {b} are taken away. How many are left?",
)
COUNTED = words("apples buttons shells stones books coins stamps cards marbles pencils")
COUNTERS = words("Mia Tom Anna Ben Lily Leo Nora Max")


def arithmetic_case(rng: random.Random) -> Case:
    """Sums and differences within 100, the table to 12, comparisons; the answer repeats the normalized sum."""
    kind = rng.choices(("add", "sub", "mul", "cmp"), (38, 34, 14, 14))[0]
    facts = {"n": rng.choice(COUNTERS), "things": rng.choice(COUNTED)}
    if kind == "mul":
        a, b = rng.randint(0, 12), rng.randint(0, 12)
        template, answer, result = MUL, f"{a} x {b} = {a * b}", a * b
    elif kind == "cmp":
        a, b = rng.sample(range(101), 2)
        larger = rng.random() < 0.5
        template, result = (LARGER, max(a, b)) if larger else (SMALLER, min(a, b))
        answer = f"{result} is {'larger' if larger else 'smaller'} than {a + b - result}"
    elif kind == "add":
        total = rng.randint(0, 100)
        a = rng.randint(0, total)
        b, result = total - a, total
        template = rng.choice(WORD_ADD) if rng.random() < 0.12 else ADD
        answer = f"{a} + {b} = {total}"
    else:
        a = rng.randint(0, 100)
        b = rng.randint(0, a)
        result = a - b
        template = rng.choice(WORD_SUB) if rng.random() < 0.12 else SUB
        answer = f"{a} - {b} = {result}"
    # Addition is held out by unordered pair. A table entry can only be remembered, so of a product one order is.
    pair = (min(a, b), max(a, b)) if kind in ("add", "cmp") else (a, b)
    slots = facts | {"a": str(a), "b": str(b)}
    return Case("arithmetic", (kind, *pair), expand(template, slots, rng).strip(), answer + ".", {"result": result})


# ------------------------------------------------------------- release notes

COMPONENTS = words(
    "journal,governor,tokenizer,decode guard,web page,router,scheduler,command line,model reader,sampler,"
    "response cache,"
    "dashboard,boot image,benchmark pack,feedback store,plugin loader,metrics exporter,prefix cache",
    ",",
)
ADDED = {
    "adds": "support for {x}",
    "improves": "the speed of {x}",
    "reports": "{x} in its summary",
    "checks": "{x} at startup",
    "records": "{x} in the log",
}
SUBJECTS = words(
    "long prompts,empty files,parallel requests,large vocabularies,nested folders,slow disks,model names,stop words,"
    "token counts,cycle counts,idle sessions,chat templates,old settings,saved answers,checksums,time limits",
    ",",
)
FAULTS = words(
    "a crash,a memory leak,a wrong count,a slow start,a missing warning,a rounding error,a broken link,a stale value,"
    "a lost record,a confusing message",
    ",",
)
NOTE_PROMPT = (
    "[Write|Give me|Draft] [release notes|a release note|two-sentence release notes] for [the |]{component} "
    "{version}: {short}; "
    "fix {fault} with {y}."
)
NOTE_ANSWER = (
    "[Version {version} of the {component} {verb} {what}.|The {component} {version} {verb} {what}.|In version "
    "{version}, the "
    "{component} {verb} {what}.] [It also fixes|This release also fixes|We also fixed] {fault} [with {y}|that "
    "could occur with "
    "{y}|seen with {y}]."
)
SHORT = {"adds": "add", "improves": "improve", "reports": "report", "checks": "check", "records": "record"}


def note_case(rng: random.Random) -> Case:
    """Two sentences: what is new, what is fixed."""
    x, y = rng.sample(SUBJECTS, 2)
    verb = rng.choice(list(ADDED))
    what = ADDED[verb].format(x=x)
    slots = {
        "component": rng.choice(COMPONENTS),
        "fault": rng.choice(FAULTS),
        "x": x,
        "y": y,
        "verb": verb,
        "what": what,
        "version": f"{rng.randint(0, 9)}.{rng.randint(0, 19)}.{rng.randint(0, 9)}",
        "short": f"{SHORT[verb]} {what}",
    }
    key = (slots["component"], x, y)
    return Case("notes", key, expand(NOTE_PROMPT, slots, rng), expand(NOTE_ANSWER, slots, rng), slots)


# ---------------------------------------------------------------- risk cards

LEVELS = ("low", "medium", "high")
RISKS = {
    "disk failure": "[Keep two backups|Replace old disks|Mirror the disk]",
    "data loss": "[Back up every night|Test the restore|Keep copies off site]",
    "power cut": "[Install a spare battery|Add a second supply|Test the generator]",
    "slow decode": "[Lower the token limit|Use a smaller model|Raise the thread count]",
    "memory leak": "[Restart each night|Set a memory limit|Watch the heap]",
    "expired certificate": "[Renew it a month early|Set a reminder|Automate the renewal]",
    "stolen password": "[Require a second factor|Rotate all passwords|Lock idle accounts]",
    "wrong model file": "[Verify the checksum|Pin the file digest|Check the receipt]",
    "network outage": "[Add a second line|Work from a local copy|Queue the requests]",
    "staff absence": "[Train a second person|Write down the steps|Share the duties]",
    "late delivery": "[Order two weeks early|Find a second supplier|Keep a reserve]",
    "clock drift": "[Sync the clock hourly|Compare two clocks|Use a cycle counter]",
    "bad update": "[Roll back at once|Test on a canary|Keep the old version]",
    "overheating": "[Clean the fans|Lower the clock|Improve the cooling]",
    "noisy neighbour": "[Reserve a core|Move to another machine|Limit the neighbour]",
    "full disk": "[Delete old logs|Alert at eighty percent|Add a larger disk]",
}
SYSTEMS = words(
    "server,edge device,test bench,archive,web shop,factory line,clinic,boot stick,gateway,build machine,"
    "sensor hub,library,"
    "office network,delivery van",
    ",",
)
OWNERS = ("operations", "security", "platform", "support")
RISK_PROMPT = (
    "[Write|Make|Create|Give me] a [JSON risk card|risk card in JSON|risk card as JSON] for {risk} [on|at] the "
    "{system}."
)


def risk_case(rng: random.Random) -> Case:
    """A JSON object of six fields; any of id, severity and likelihood may be given by the prompt."""
    risk, system = rng.choice(list(RISKS)), rng.choice(SYSTEMS)
    card = {
        "id": f"R-{rng.randint(1, 999):03d}",
        "title": f"{risk.capitalize()}: {system}",
        "severity": rng.choice(LEVELS),
        "likelihood": rng.choice(LEVELS),
        "mitigation": expand(RISKS[risk], {}, rng) + ".",
        "owner": rng.choice(OWNERS),
    }
    given = {name: card[name] for name in ("id", "severity", "likelihood") if rng.random() < 0.5}
    wanted = "".join(f" {name.capitalize() if name != 'id' else 'Id'}: {value}." for name, value in given.items())
    prompt = expand(RISK_PROMPT, {"risk": risk, "system": system}, rng) + wanted
    return Case("risk", (risk, system), prompt, json.dumps(card), {"given": given, "risk": risk, "system": system})


# ------------------------------------------------------------- Flyball's state

STOPS = {
    "eos": "the answer was complete",
    "length": "the token limit was reached",
    "stop": "a stop word appeared",
    "guard": "the decode guard ended the run",
    "user": "the user cancelled it",
}
MODES = ("normal", "safe", "tuning")
MODEL_NAMES = ("flyball-demo", "small-chat", "notes-1b", "story-3b", "code-7b")
STATE_QUESTIONS = {
    "mode": "[What is your current mode?|Which mode are you in?|What mode is this?|Tell me your mode.]",
    "safe": "[Are you in safe mode?|Is safe mode on?|Is this safe mode?]",
    "stop": "[Why did you stop?|Why did the run end?|What ended the last answer?|What is your stop reason?]",
    "trips": "[How many trips were there?|How often did the guard trip?|How many times has the decode guard tripped?]",
    "cost": "[What does decode cost?|How many cycles per token does decode take?|What is your decode cost?]",
    "budget": "[What is your budget?|What is the decode budget?|How many cycles per token are allowed?]",
    "within": "[Are you within budget?|Is decode within its budget?|Do you keep your budget?|Are you too slow?]",
    "threads": "[How many threads do you use?|How many threads are there?|What is the thread count?]",
    "model": "[Which model is loaded?|What model are you?|What is the model name?|Which model do you run?]",
    "report": "[How are you?|Give me a status report.|What is your status?|Summarize your state.]",
}
STATE_FIELDS = ("mode", "decode_cpt", "budget", "trips", "threads", "stop", "model")
FIELD_OF = {"safe": "mode", "cost": "decode_cpt", "within": "budget", "report": "mode"}


def draw_state(rng: random.Random) -> dict[str, str]:
    """A state as Flyball would put into a prompt; the cost is near the budget, so that comparing needs all digits."""
    budget = rng.randint(20, 990) * 100
    cost = max(100, int(budget * rng.uniform(0.6, 1.4)))
    return {
        "mode": rng.choice(MODES), "decode_cpt": str(cost), "budget": str(budget), "trips": str(rng.randint(0, 9)),
        "threads": str(rng.choice((1, 2, 3, 4, 6, 8, 12, 16))), "stop": rng.choice(list(STOPS)),
        "model": rng.choice(MODEL_NAMES),
    }  # fmt: skip


def times(count: str) -> str:
    """Say a count of trips."""
    return "once" if count == "1" else f"{count} times"


def state_answer(ask: str, s: dict[str, str]) -> str:
    """The one right answer to a question about a complete state."""
    over = int(s["decode_cpt"]) > int(s["budget"])
    verdict = f"decode costs {s['decode_cpt']} cycles per token and the budget is {s['budget']}"
    answers = {
        "mode": f"I am in {s['mode']} mode.",
        "safe": "Yes, I am in safe mode." if s["mode"] == "safe" else f"No, I am in {s['mode']} mode.",
        "stop": f"I stopped because {STOPS[s['stop']]}.",
        "trips": f"The decode guard has tripped {times(s['trips'])}.",
        "cost": f"Decode costs {s['decode_cpt']} cycles per token.",
        "budget": f"The budget is {s['budget']} cycles per token.",
        "within": f"{verdict[0].upper()}{verdict[1:]}, so I am {'over' if over else 'within'} budget.",
        "threads": f"I use {s['threads']} thread{'' if s['threads'] == '1' else 's'}.",
        "model": f"The loaded model is {s['model']}.",
        "report": f"I am in {s['mode']} mode with {s['model']}, and the decode guard has tripped {times(s['trips'])}.",
    }
    return answers[ask]


def show_state(state: dict[str, str], names: list[str]) -> str:
    """The state line with the named fields."""
    return "state: " + " ".join(f"{name}={state[name]}" for name in names)


def ask_state(state: dict[str, str], shown: list[str], ask: str, rng: random.Random) -> Case:
    """One question about a state of which only `shown` is known; a missing field is said to be missing."""
    wanted = FIELD_OF.get(ask, ask)
    answer = state_answer(ask, state) if wanted in shown else f"The state does not say. It has no field named {wanted}."
    key = ("state", state["mode"], state["stop"], state["trips"], state["decode_cpt"][:2])
    return Case("state", key, expand(STATE_QUESTIONS[ask], {}, rng), answer, {"ask": ask})


def draw_shown(rng: random.Random, absent: str | None) -> list[str]:
    """Which fields are shown, mostly in the usual order; cost, mode, model and trips are needed by two questions."""
    kept = ("decode_cpt", "mode", "model", "trips")
    shown = [n for n in STATE_FIELDS if n != absent and (n in kept or rng.random() < 0.8)]
    if rng.random() < 0.3:
        rng.shuffle(shown)
    return shown


def state_session(rng: random.Random, turns: int) -> list[Case]:
    """Different questions about one state, which stands in the system message or before the first question."""
    state = draw_state(rng)
    if rng.random() < 0.04:
        ask = rng.choice(list(STATE_QUESTIONS))
        question = expand(STATE_QUESTIONS[ask], {}, rng)
        return [Case("state", ("state", "none"), question, "No state was given, so I cannot say.", {"ask": "none"})]
    shown = draw_shown(rng, rng.choice(("threads", "stop", "budget", None, None)))
    line, in_system = show_state(state, shown), rng.random() < 0.5
    cases = [ask_state(state, shown, ask, rng) for ask in rng.sample(list(STATE_QUESTIONS), turns)]
    first = cases[0] if in_system else replace(cases[0], prompt=f"{line}\n{cases[0].prompt}")
    return [replace(first, system=line if in_system else ""), *cases[1:]]


# ------------------------------------------------------------- Flyball in words

ABOUT = (
    ("[What is Flyball?|Tell me about Flyball.|Explain Flyball.]",
     "Flyball is a local runtime for language models. Its answers can be checked: the same model, prompt, "
     "settings and seed "
     "give the same bits on every machine."),
    ("[Who are you?|What are you?|What is your name?]",
     "I am Flyball Demo, a very small model that shows what the Flyball runtime can do."),
    ("[What can you do?|How can you help me?|What are you good at?]",
     "I can tell a short story, do small arithmetic, write a two-sentence release note, make a JSON risk card "
     "and answer "
     "questions about my own state."),
    ("[What is the governor?|What does the governor do?|Explain the governor.]",
     "The governor keeps a run inside its budget. It counts the cycles of prefill and decode, decides by them, "
     "and writes "
     "down why."),
    ("[What is the journal?|What does the journal do?|Why is there a journal?]",
     "The journal holds every decision with its reason. Each record is chained to the one before, so a change "
     "can be seen."),
    ("[What is a receipt?|What are receipts?|What is a receipt for?]",
     "A receipt holds the digest of an answer and all that led to it. Anybody can run it again on another "
     "machine and compare."),
    ("[What is exactness?|What does bit-exact mean?|Are your answers exact?]",
     "Exact means that the same model, prompt, settings and seed give the same bits, with any number of "
     "threads and on every "
     "instruction set."),
    ("[What is safe mode?|What does safe mode do?|Explain safe mode.]",
     "Safe mode is entered when decode is too slow for too long. Flyball then uses careful settings until the "
     "cost is back "
     "inside the budget."),
    ("[What is the decode guard?|What does the decode guard do?|Explain the decode guard.]",
     "The decode guard counts the cycles of each token. When the count stays over the budget, it trips and "
     "Flyball enters "
     "safe mode."),
    ("[What is a reason id?|Why do decisions have a reason?|What is reason_id?]",
     "A reason id names why a decision was made. It comes from one closed list, so every decision can be explained and "
     "replayed."),
    ("[Why are you called Flyball?|Where does the name come from?|Why the name Flyball?]",
     "James Watt's flyball governor kept an engine at speed by measuring every turn. Flyball does that for "
     "language models."),
    ("[Do you need the internet?|Are you online?|Where do you run?]",
     "I run on this machine alone. I need no network."),
    ("[Hello|Hi|Good morning|Hello!|Hi there]", "Hello! I can tell a story, do a sum, or report my state."),
    ("[Thanks|Thank you|Thank you!|Thanks a lot]", "You are welcome."),
    ("[Bye|Goodbye|See you]", "Goodbye!"),
    ("[What is the capital of {x}?|Who won the {x} game?|Translate {x} for me.|What is the news about {x}?|Can "
     "you cook {x}?|"
     "What do you think about {x}?|Write code for {x}.|How old is {x}?|Who is {x}?|Where is {x}?]",
     "I am only a small demonstration model and do not know that. I can tell a story, do a sum, or report my state."),
)  # fmt: skip
STRANGE = words(
    "France Spain soup football music gold history paper rain chess Rome physics milk Egypt Shakespeare "
    "trains winter cheese "
    "Peru Newton London coffee sorting Brazil tennis",
)


def about_case(rng: random.Random) -> Case:
    """What Flyball is, small talk, and an honest answer to questions beyond the model."""
    number = rng.randrange(len(ABOUT))
    question, answer = ABOUT[number]
    prompt = expand(question, {"x": rng.choice(STRANGE)}, rng)
    return Case("about", ("about", number), prompt, answer, {"number": number})


def story_request(kind: str, thing: str, rng: random.Random) -> str:
    """How a user may ask for a story."""
    return polish(
        expand(
            "[Tell me a story about|Write a short story about|Tell me a short story about|Can you tell a story about|"
            "Please write a story about] a {kind} and a {thing}[.|.|?|]",
            {"kind": kind, "thing": thing},
            rng,
        )
    )
