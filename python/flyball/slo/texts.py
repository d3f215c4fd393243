"""The texts of the scenarios, written for Flyball: they change only together with the scenarios' recorded digests."""

PAGE = (
    "The harbor of Norwick has three cranes and a long stone pier. The oldest crane was built by a family of smiths and"
    " still lifts small boats in spring.",
    "Every morning the harbor master reads the wind, writes it into a book and tells the pilots which ships may enter"
    " first. Large ships wait for high water.",
    "In winter the pier is closed when ice lies on the stones. Two years ago a storm broke the lamp at its end, and the"
    " town paid for a new one that needs no oil.",
    "The fish market opens at six. It sells herring, cod and crabs, and by noon most tables are empty and washed.",
    "Visitors may walk on the pier from May to September. They pay nothing, and a guide tells the story of the cranes"
    " each Saturday at three.",
)

PASSAGES = (
    "[1] The ferry to the island leaves at eight and at two. In storms it does not leave.",
    "[2] A ticket costs four coins; children under six travel free.",
    "[3] The island has one inn with nine rooms and a garden with apple trees.",
)

LETTER = (
    "Dear Sir, my name is Ada Brook and I live in Norwick. I ordered two lamps on the third of May and got only one."
    " Please send the other one. My order has the number 4711."
)

REVIEW = "The lamp came late and the glass was broken. I wrote twice and got no answer."

CODE = 'def mean(values):\n    """The arithmetic mean of a list of numbers."""\n    total = 0\n'

TURNS = ("Hello, who are you?", "What is 3 plus 4?", "Tell me a short story about a boat.")

CLIENTS = (
    "Tell me a story about a cat.",
    "What is 2 plus 5?",
    "Who are you?",
    "Tell me a story about the sea.",
    "What is 9 minus 4?",
    "How is the weather?",
    "Tell me a story about a lamp.",
    "What can you do?",
)
