"""Instructions with an exact form: JSON without extra text, dates, alphabets, order."""

from __future__ import annotations

from .follow_text import ONLY
from .json_rules import equals, is_number, is_text, is_texts, json_array, json_object
from .rules import Rule, n_words
from .text_rules import contains, exactly, iso_date, letters

# id, prompt, an answer that passes, rules
TABLE: tuple[tuple[str, str, str, tuple[Rule, ...]], ...] = (
    (
        "json-owner",
        "Output a JSON object with the keys title (text), risks (an array of one to three texts) and owner, which is"
        ' "Platform", in this order. No extra text.',
        '{"title": "Login", "risks": ["more load"], "owner": "Platform"}',
        (json_object({"title": is_text, "risks": is_texts(1, 3), "owner": equals("Platform")}),),
    ),
    (
        "json-city",
        "Output a JSON object about Paris with the keys city (text), country (text) and population (a number), in this"
        " order. No extra text.",
        '{"city": "Paris", "country": "France", "population": 2100000}',
        (json_object({"city": equals("Paris"), "country": equals("France"), "population": is_number}),),
    ),
    (
        "json-array",
        "Output a JSON array of exactly three texts, each the name of a color. No extra text.",
        '["red", "green", "blue"]',
        (json_array(is_texts(3, 3)),),
    ),
    (
        "json-flags",
        "Output a JSON object with the keys ok, which is true, and items, which is an empty array. No extra text.",
        '{"ok": true, "items": []}',
        (json_object({"ok": equals(True), "items": equals([])}),),
    ),
    (
        "json-numbers",
        "Output a JSON array with the numbers from 1 to 5 in order. No extra text.",
        "[1, 2, 3, 4, 5]",
        (json_array(equals([1, 2, 3, 4, 5])),),
    ),
    ("iso-given", f"Write 3 May 2021 as YYYY-MM-DD. {ONLY}", "2021-05-03", (exactly("2021-05-03"),)),
    ("iso-last", f"Write the last day of the year 1999 as YYYY-MM-DD. {ONLY}", "1999-12-31", (exactly("1999-12-31"),)),
    ("iso-month", f"Write any day of March 2024 as YYYY-MM-DD. {ONLY}", "2024-03-17", (iso_date(2024, 3),)),
    (
        "cyrillic",
        f"Write the Russian word for water in Cyrillic letters. {ONLY}",
        "вода",
        (letters("CYRILLIC"), exactly("вода", "Вода")),
    ),
    (
        "greek",
        f"Write the names of the first three letters of the Greek alphabet in Greek letters. {ONLY}",
        "άλφα, βήτα, γάμμα",
        (letters("GREEK"), n_words(3, 3), contains("αλφα", "βητα")),
    ),
    (
        "turkish",
        f"Write the Turkish name of Istanbul with its dotted capital letter. {ONLY}",
        "İstanbul",
        (exactly("İstanbul"),),
    ),
    (
        "alphabet",
        f"Put these words in alphabetical order, separated by a comma and a space: pear, apple, plum, fig. {ONLY}",
        "apple, fig, pear, plum",
        (exactly("apple, fig, pear, plum"),),
    ),
    (
        "descending",
        f"Sort these numbers from the largest to the smallest, separated by a comma and a space: 7, 3, 9, 1. {ONLY}",
        "9, 7, 3, 1",
        (exactly("9, 7, 3, 1"),),
    ),
    (
        "reverse",
        f"Write these words in reverse order: red green blue. {ONLY}",
        "blue green red",
        (exactly("blue green red"),),
    ),
    (
        "repeat",
        f"Repeat this sentence exactly: The kettle sings at noon. {ONLY}",
        "The kettle sings at noon.",
        (exactly("The kettle sings at noon."),),
    ),
)
