"""Instructions about the form of a text: counts, lists, words, case, beginning and end."""

from __future__ import annotations

from .rules import Rule, bullets, n_lines, n_paragraphs, n_sentences, n_words, numbered, parted
from .text_rules import (
    contains,
    ends,
    exactly,
    lacks,
    lacks_words,
    lower,
    no_digits,
    one_word,
    placeholders,
    shouts_only,
    starts,
    times,
    titled,
    upper,
    wrapped,
)

ONLY = "Write nothing else."

# id, prompt, an answer that passes, rules
TABLE: tuple[tuple[str, str, str, tuple[Rule, ...]], ...] = (
    (
        "words-5",
        f"Describe the sea in exactly five words, one of which is sea. {ONLY}",
        "The wide sea never sleeps.",
        (n_words(5, 5), contains("sea")),
    ),
    (
        "words-10",
        "Write exactly ten words about winter. One of them is the word winter.",
        "In winter the quiet lake freezes and children skate slowly.",
        (n_words(10, 10), contains("winter")),
    ),
    (
        "words-most-15",
        "Say in at most 15 words what a bridge is for. Use the word bridge.",
        "A bridge lets people cross a river.",
        (n_words(3, 15), contains("bridge")),
    ),
    (
        "words-20-30",
        "Describe a market in 20 to 30 words. Use the word market.",
        "The market opens at dawn, and the sellers call out their prices while old friends meet between baskets of"
        " apples, cheese and bread.",
        (n_words(20, 30), contains("market")),
    ),
    ("word-1", "Which color is fresh snow? Answer with one word.", "White", (one_word("white"),)),
    ("yes-no", "Is ice cold? Answer with yes or no only.", "yes", (one_word("yes"),)),
    (
        "sentence-1",
        "Write one sentence about a lighthouse.",
        "The lighthouse warned every ship.",
        (n_sentences(1), contains("lighthouse")),
    ),
    (
        "sentence-3",
        "Write three sentences about a baker. Use the word bread.",
        "The baker rises early. He bakes bread. Everyone is glad!",
        (n_sentences(3), contains("bread")),
    ),
    (
        "sentence-4",
        "Write four short sentences about a horse.",
        "The horse runs. It is brown. It likes hay. It sleeps.",
        (n_sentences(4), n_words(8, 60), contains("horse")),
    ),
    (
        "bullets-3",
        f"List three benefits of walking, each on a line of its own that begins with '- '. {ONLY}",
        "- Better sleep\n- Fresh air\n- A strong heart",
        (bullets(3),),
    ),
    (
        "bullets-5",
        f"List five things to pack for a hike, each on a line of its own that begins with '- '. {ONLY}",
        "- Water\n- Map\n- Jacket\n- Bread\n- Lamp",
        (bullets(5),),
    ),
    (
        "bullets-short",
        f"List four rules for a library, each on a line that begins with '- ' and has at most four words. {ONLY}",
        "- Speak softly\n- Return books\n- Eat outside\n- Switch off phones",
        (bullets(4, 4),),
    ),
    (
        "numbered-3",
        f"List three colors, numbered 1. to 3., one a line. {ONLY}",
        "1. Red\n2. Blue\n3. Green",
        (numbered(3),),
    ),
    (
        "numbered-6",
        f"List six fruits, numbered 1. to 6., one a line. {ONLY}",
        "1. Apple\n2. Pear\n3. Plum\n4. Fig\n5. Cherry\n6. Lemon",
        (numbered(6),),
    ),
    (
        "paragraphs-2",
        "Write two short paragraphs about rain, with an empty line between them.",
        "The rain came at night.\n\nIn the morning the rain was gone.",
        (n_paragraphs(2), contains("rain")),
    ),
    (
        "paragraphs-3",
        "Write three paragraphs of one sentence each about a garden, with an empty line between them.",
        "The garden is green.\n\nBees visit it.\n\nAt night it rests.",
        (n_paragraphs(3), n_sentences(3), contains("garden")),
    ),
    (
        "lines-4",
        f"Write four animals, one on each line. {ONLY}",
        "dog\ncat\nhen\nfox",
        (n_lines(4, 2), lacks(".", ",")),
    ),
    (
        "commas-5",
        f"Name five cities on one line, separated by commas. {ONLY}",
        "Paris, Rome, Oslo, Lima, Cairo",
        (n_lines(1), parted(",", 5, 4)),
    ),
    (
        "semicolons-3",
        f"Name three musical instruments on one line, separated by semicolons. {ONLY}",
        "piano; violin; flute",
        (n_lines(1), parted(";", 3, 3)),
    ),
    (
        "asterisks",
        f"Give two different greetings. Separate them by six asterisks: ******. {ONLY}",
        "Good morning\n******\nHello there",
        (parted("******", 2, 8),),
    ),
    (
        "contain-2",
        "Write one sentence that has the words copper and window.",
        "The copper roof shone in the window.",
        (n_sentences(1), contains("copper", "window")),
    ),
    (
        "contain-4",
        "Write one or two sentences with all of these words: lamp, river, seven, cold.",
        "Seven boats with a lamp each crossed the cold river.",
        (n_words(4, 60), contains("lamp", "river", "seven", "cold")),
    ),
    (
        "twice",
        "Write a short text that has the word garden exactly twice.",
        "My garden is small, but a small garden is less work.",
        (n_words(6, 90), times("garden", 2)),
    ),
    (
        "letter-a",
        "Write a sentence of at least six words about the moon without the letter a.",
        "The moon rose over the old mill.",
        (n_words(6, 60), contains("moon"), lacks("a")),
    ),
    (
        "no-comma",
        "Describe a kitchen in two sentences without a comma. Use the word kitchen.",
        "The kitchen is warm. Soup boils on the stove.",
        (n_sentences(2), contains("kitchen"), lacks(",")),
    ),
    (
        "no-the",
        "Describe a forest in at least eight words. Use the word forest, and do not use the word 'the'.",
        "A forest has tall trees, soft moss and many birds.",
        (n_words(8, 90), contains("forest"), lacks_words("the")),
    ),
    (
        "no-digits",
        "How many days has a week? Answer in one sentence without digits.",
        "A week has seven days.",
        (n_sentences(1), contains("seven"), no_digits()),
    ),
    ("digits", "How many minutes are in two hours? Answer with digits only.", "120", (exactly("120"),)),
    (
        "banned",
        "Describe coffee in one sentence. Use the word bitter, but not the words coffee, cup and drink.",
        "It is hot, dark and bitter.",
        (n_sentences(1), contains("bitter"), lacks("coffee", "cup", "drink")),
    ),
    (
        "upper",
        "Write a warning about thin ice in capital letters only.",
        "STAY OFF THE ICE! IT IS TOO THIN.",
        (n_words(2, 40), contains("ice"), upper()),
    ),
    (
        "lower",
        "Write one sentence about tea in small letters only, without any capital letter.",
        "tea is best when it is hot.",
        (n_words(3, 40), contains("tea"), lower()),
    ),
    (
        "title",
        f"Write a title of four words for a story about a fox. Each word begins with a capital letter. {ONLY}",
        "The Fox Goes Home",
        (n_words(4, 4), contains("fox"), titled()),
    ),
    (
        "shout",
        "Write one sentence of advice about fire in which only the word NEVER is in capital letters.",
        "You should NEVER leave a fire alone.",
        (n_sentences(1), contains("fire"), shouts_only("NEVER")),
    ),
    (
        "start",
        "Explain in one sentence why leaves fall. Begin your answer with the word Certainly and a comma.",
        "Certainly, leaves fall because trees save water.",
        (starts("Certainly,"), n_sentences(1), n_words(4, 60)),
    ),
    (
        "end",
        "Tell in a few sentences how to boil an egg. End your answer with this sentence: That is all.",
        "Boil water. Put the egg in for eight minutes. That is all.",
        (ends("That is all."), contains("egg", "water"), n_words(8, 90)),
    ),
    (
        "letter",
        "Write a short letter about a lost key. Begin with a line 'Dear Anna,' and end with a line 'Best wishes, Tom'.",
        "Dear Anna,\nI have found your key.\nBest wishes, Tom",
        (starts("Dear Anna,\n"), ends("\nBest wishes, Tom"), contains("key")),
    ),
    (
        "question",
        f"Write one question about a train. {ONLY}",
        "When does the train leave?",
        (n_sentences(1), contains("train"), ends("?")),
    ),
    (
        "exclamation",
        f"Write one cheerful sentence about a goal in football that ends with an exclamation mark. {ONLY}",
        "What a goal!",
        (n_sentences(1), contains("goal"), ends("!")),
    ),
    (
        "quotes",
        "Write one sentence about honesty, and put your whole answer in double quotation marks.",
        '"Honesty is worth more than gold."',
        (wrapped('"', '"'), contains("honest"), n_words(3, 60)),
    ),
    (
        "brackets",
        f"Write the name of a flower in square brackets. {ONLY}",
        "[rose]",
        (wrapped("[", "]"), n_words(1, 3)),
    ),
    (
        "placeholders",
        "Write a one-sentence invitation with exactly two placeholders in square brackets, such as [name].",
        "Dear [name], please come on [date].",
        (placeholders(2), n_sentences(1), n_words(4, 60)),
    ),
    (
        "double-angle",
        f"Write a title for a poem about snow, in double angular brackets such as <<title>>. {ONLY}",
        "<<First Snow>>",
        (wrapped("<<", ">>"), contains("snow"), n_words(1, 10)),
    ),
)
