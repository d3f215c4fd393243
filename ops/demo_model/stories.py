"""Short stories from a small grammar: many plots, people, places and turns of phrase.

A template holds `{slot}` for a fact of this story and `[one|two]` for a choice of wording; choices nest.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass


def words(text: str, separator: str | None = None) -> list[str]:
    """A word list that reads as a line instead of a column."""
    return text.split(separator)


ANIMALS = words(
    "fox rabbit bear mouse owl hedgehog squirrel duck frog badger otter beaver cat dog pony goat lamb sparrow "
    "turtle mole crow hen",
)
CHILDREN = ("girl", "boy")
GIRLS = words("Mia Lily Anna Rosa Nora Ella Ivy Tess Clara Hana Zoe June Maya Lena Ruby Wren Alma Greta")
BOYS = words("Tom Ben Sam Leo Max Finn Otto Jack Noah Hugo Milo Felix Pip Theo Emil Ravi Oskar Jonas")
THINGS = words(
    "kite,lantern,drum,scarf,bell,button,basket,boat,hat,key,book,ball,flute,map,blanket,umbrella,wagon,clock,"
    "whistle,mirror,ribbon,shell,stone,feather",
    ",",
)
COLORS = words("red blue green yellow silver golden white purple")
FOODS = words("apple pie,warm bread,berry cake,vegetable soup,honey toast,pumpkin pie,plum jam,oat cookies", ",")
PLACES = words(
    "in the forest,by the river,on a quiet hill,near the sea,in a small village,at the edge of a meadow,"
    "beside an old mill,in a green valley,next to a big garden,behind the windy dunes",
    ",",
)
SPOTS = words(
    "the old oak tree,the stone bridge,the tall barn,the mill pond,the mossy wall,the market square,"
    "the apple orchard,the little harbor,the dark cave,the blackberry hedge",
    ",",
)
WEATHERS = words("sunny,rainy,windy,cold,bright,foggy,snowy,warm,quiet,cloudy", ",")
TRAITS = words("brave,shy,curious,kind,clever,cheerful,patient,careful,proud,gentle,stubborn,lively", ",")
LESSONS = {
    "help": "[it is good to ask for help|nobody has to do everything alone|two can carry what one cannot]",
    "share": "[sharing makes things better|a thing shared is twice as nice|there is always enough for two]",
    "brave": "[being brave means trying even when you are afraid|a dark place is only a place|fear gets smaller "
    "when you look at it]",
    "honest": "[the truth is lighter to carry than a lie|it is always better to tell the truth|a friend can forgive "
    "a mistake]",
    "patient": "[good things take time|waiting is a kind of work too|small steps go a long way]",
    "kind": "[kindness comes back|a small kind act can change a day|new friends are found by being kind]",
}


@dataclass(frozen=True)
class Plot:
    """A plot: its lesson and its parts, each part a template."""

    lesson: str
    parts: tuple[str, ...]


PLOTS = (
    Plot(
        "help",
        (
            "[{Name} had a {thing} that {he} loved very much.|The thing {name} loved most was a {color} "
            "{thing}.|{Name} carried a {color} {thing} everywhere {he} went.] [It had been a gift from {his} "
            "[grandmother|grandfather|uncle|aunt].|Every night {he} put it next to {his} bed.|]",
            "One {weather} [morning|afternoon|evening], the {thing} was gone. {Name} looked [under the bed|behind "
            "the door|in the kitchen] and [in the garden|on the roof|along the path], but {he} could not find it. "
            "[{He} sat down and cried.|{He} felt a lump in {his} throat.|{His} heart was heavy.]",
            '{Friend} [came by|heard {him}|saw {his} sad face] and asked, "[What is wrong|Why are you sad|What '
            'happened], {name}?" "[My {thing} is lost|I have lost my {thing}|I cannot find my {thing}]," said '
            '{name}. "[Let us look together|I will help you|Four eyes see more than two]," said {friend}.',
            "They [walked to|went to|ran to] {spot} and searched [every corner|slowly and carefully|until the sun "
            "was low]. [Then|At last|Suddenly] {friend} [pointed up|called out|laughed]. The {thing} was [lying in "
            "the grass|hanging on a branch|hidden under some leaves|stuck between two stones]!",
            '{Name} hugged {friend}. "[Thank you|I could not have done it alone|You are a true friend]," {he} said.',
        ),
    ),
    Plot(
        "share",
        (
            "One {weather} day, {name} [made|baked|cooked] {food}. [The whole house smelled sweet.|It smelled "
            'wonderful.|Steam rose to the ceiling.] "[This is all for me|I will eat it all|I will not give any '
            'away]," thought {name}.',
            "Then there was a knock at the door. It was {friend}, [cold and hungry|tired from a long walk|with an "
            'empty {thing2}]. "[May I come in|Can I sit by the fire|Is there some for me]?" said {friend}. {Name} '
            "[hid the food|closed the door a little|said nothing]. {Friend} [looked down|turned around] and walked "
            "away [slowly|without a word].",
            "{Name} sat at the table. [The food did not taste good anymore.|The house felt very quiet.|{He} could "
            'not swallow a bite.] {He} thought of {friend} [alone on the road|out in the wind|near {spot}]. "[I was '
            'not kind|That was wrong of me|I must fix this]," {he} said.',
            "{He} [took {his} coat|put the food in a basket|grabbed {his} {thing}] and ran [after "
            '{friend}|outside|down the path]. "[Please come back|Wait for me|I am sorry]!" {he} called. "[There is '
            'enough for both of us|We can eat together]."',
            "They sat [by the fire|at the small table|on the warm steps] and ate {food}. {Friend} told a funny "
            "story, and they laughed until [the moon came up|the candle was low|their bellies hurt].",
        ),
    ),
    Plot(
        "brave",
        (
            "{Name} was afraid of [the dark|thunder|deep water|high places]. [Nobody knew it.|{He} told only "
            "{friend}.|{He} did not like to talk about it.]",
            'One {weather} evening, [a small voice|a strange noise|a soft cry] came from {spot}. "[Who is there|What '
            'is that]?" whispered {name}. [Nobody answered.|The wind answered with a long howl.|The noise came '
            "again.] {He} wanted to [run home|hide under a blanket|close {his} eyes].",
            "But {name} took {his} {thing} and [went closer|walked on, step by step|counted to ten]. [{His} knees "
            "shook.|{His} heart beat like a drum.|{He} sang a quiet song.] Behind [a stone|the leaves|an old box] "
            "{he} found {friend}, who [had hurt a foot|was stuck in the mud|had lost the way].",
            '"[I am so glad you came|You are here|I was so scared]," said {friend}. {Name} [used the {thing} to '
            "help|held out {his} hand|pulled with all {his} strength], and soon {friend} was free. Together they "
            "[walked home|followed the stars home|found the path again].",
            "That night {name} [was not afraid|slept very well|smiled in the dark]. [The dark was still dark, but "
            "{he} was different.|The fear had become small.|{He} had been brave.]",
        ),
    ),
    Plot(
        "honest",
        (
            "{Friend} had a [beautiful|new|shiny] {color} {thing}. {Name} [wanted to play with it|borrowed it for a "
            'day|picked it up when nobody was looking]. ["Please be careful," said {friend}.|It was so pretty in the '
            "sun.|]",
            "But {name} [ran too fast|was not careful|slipped on a wet step], and the {thing} [fell and broke|got a "
            "long crack|dropped into the water]. {Name} was [scared|ashamed|very upset]. {He} [hid it|put it] [under "
            "a bush|behind {spot}|in a box].",
            '"Have you seen my {thing}?" asked {friend}. "No," said {name}, and {his} [face grew hot|ears turned '
            "red|voice was small]. All day {he} [could not eat|could not play|felt as if a stone was in {his} belly].",
            '[In the evening|The next morning|Before bedtime], {name} went to {friend}. "[I broke your {thing}|It '
            'was me|I did not tell the truth]," {he} said. "I am sorry." {Friend} was [quiet for a while|sad at '
            'first|surprised]. Then {friend} said, "[Thank you for telling me|I was angry, but now I am not|We can '
            'mend it together]."',
            "They [worked all afternoon|used glue and string|sat side by side], and [soon|at last] the {thing} was "
            "[almost as good as new|whole again|even better than before].",
        ),
    ),
    Plot(
        "patient",
        (
            '{Name} found a [tiny|small|strange] seed near {spot}. "[I will grow the biggest flower in the world|You '
            'will be tall and strong|I will take care of you]!" {he} said. {He} put it in the [soft|dark] earth and '
            "watered it.",
            'The next day nothing had happened. The day after, still nothing. "[It does not work|Why is it so '
            'slow|Maybe it is sleeping]," {name} [said|sighed|grumbled]. {He} [wanted to dig it up|kicked the '
            "ground|played the {thing} for it].",
            '{Friend} [smiled|sat down next to {him}|looked at the ground]. "[Give it time|A seed works where you '
            'cannot see it|Be patient]," said {friend}. So {name} waited. {He} watered the earth every '
            "[morning|evening], in [sun and rain|wind and sun].",
            "Then, one {weather} morning, there was a [green tip|tiny leaf|thin green line]. {Name} [jumped for "
            "joy|ran to tell {friend}|could not stop looking]. Week by week it grew, until it was [taller than "
            "{name}|a yellow sunflower|a young apple tree].",
            "{Name} hung {his} {color} {thing} [on it|beside it] and sat in its shade with {friend}.",
        ),
    ),
    Plot(
        "kind",
        (
            "One {weather} day, [a stranger|somebody new] came to live near {spot}. It was {friend}. [Nobody knew|No "
            'one talked to] {friend}. ["Stay away," said the others.|The others only whispered.|The others walked '
            "past.]",
            "{Name} watched from [{his} window|the path|behind a tree]. {Friend} [sat alone|ate alone|was carrying "
            'heavy boxes]. "[It must be hard to be new|That looks lonely]," thought {name}. So {he} [took {his} '
            "{thing}|packed {food}|picked some flowers] and went over.",
            '"Hello, I am {name}," {he} said. "[Do you want to play|Would you like some company|Can I help you]?" '
            '{Friend} [blushed|smiled for the first time|looked up in surprise]. "[I would like that|Yes, '
            'please|That is very kind]," said {friend}.',
            "They [talked all afternoon|played with the {color} {thing}|shared {food}]. {Friend} knew [many "
            "songs|how to whistle|stories from far away], and {name} [learned them all|laughed out loud|listened "
            "with big eyes]. [Soon the others came closer|One by one, the others came too], and [everybody "
            "sang|nobody was alone].",
            "After that day, {name} and {friend} [met every morning|were best friends|were always seen together].",
        ),
    ),
    Plot(
        "help",
        (
            '{Name} wanted to build [a little house|a raft|a bridge|a tower]. "[I can do it all by myself|I need '
            'nobody|It will be the best one ever]," {he} said. {He} worked [all morning|for two days|until {his} '
            "hands hurt].",
            "But every time it [was almost done|stood up|looked right], it fell down [with a crash|again]. {Name} "
            "[threw {his} hat on the ground|sighed|kicked a stone]. [The wind laughed.|A crow laughed.|It began to "
            "rain.]",
            '{Friend} was watching from {spot}. "[May I hold this side|Do you need a hand|Can I try something]?" '
            "asked {friend}. {Name} wanted to say no. Then {he} looked at the [broken boards|mess] and [nodded|said "
            "yes].",
            "{Friend} held the boards while {name} [hammered|tied the ropes|put in the nails]. They used [a {color} "
            "{thing}|an old {thing2}] for the top. This time it [did not fall|stood firm|held].",
            "They [sat inside and ate {food}|climbed up and looked at the land|danced around it] until [the stars "
            "came out|evening].",
        ),
    ),
    Plot(
        "brave",
        (
            "A big storm came one night. The wind [pulled at the roof|shook the trees|howled like a wolf], and the "
            "rain [hit the windows|did not stop]. {Name} [lay awake|pulled up the blanket|listened].",
            'In the middle of the night somebody knocked. It was {friend}. "[The water is rising|My house is full of '
            'water|The bridge is gone]," cried {friend}, "and [the little ones are still there|nobody can get '
            'across]!"',
            "{Name} [lit a candle|took {his} {color} {thing}|put on {his} boots] and went out. [The rain was like "
            'needles.|The path was a river.|It was hard to see.] "[Hold on to me|Stay close|Do not let go]," said '
            "{name}. Slowly they went to {spot}.",
            "There they found [three small mice|four little ducks|two young rabbits] [on a log|in a tree|shaking "
            "with cold]. {Name} [put them in {his} {thing}|carried them one by one|let them climb on {his} back]. It "
            "took [a long time|all night], but [nobody was hurt|all of them were safe].",
            "In the morning the sun [came back|shone on the wet grass]. {Name} gave everybody {food}, and they "
            "[slept by the fire|dried their feet by the fire|told the story again and again].",
        ),
    ),
    Plot(
        "patient",
        (
            "There was going to be a race from the village to {spot}. The prize was a {color} {thing}. {Friend} was "
            'the fastest of all. "[You will never win|Do not even try|I will be first]," {friend} said to {name}.',
            "{Name} was [slow|small], but {he} practiced every day. {He} [ran|walked] [up and down the hill|along "
            "the river|around the garden], [a little farther each time|in rain and in sun].",
            "On the day of the race, {friend} [ran off like the wind|was soon far ahead|was out of sight]. But "
            "halfway {friend} [stopped to rest|fell asleep|ran the wrong way|stepped on a thorn]. {Name} [kept "
            "going|did not stop|took one step after another].",
            'When {name} came to {friend}, {he} [stopped|did not run past]. "[I will not leave you here|Let us '
            'finish together|Take my hand]," {he} said. So they crossed the line [side by side|together|hand in '
            "hand], and everybody cheered.",
            "They both won the {thing}. [{Name} has it in summer and {friend} has it in winter.|It hangs between "
            "their houses.|They take turns with it.]",
        ),
    ),
    Plot(
        "kind",
        (
            "One {weather} morning, {name} found a [tiny bird|young cat|little dog] near {spot}. It had [a hurt "
            'wing|a hurt foot|no home]. "[You poor thing|Do not be afraid|I will take care of you]," {he} said '
            "softly.",
            "{He} [wrapped it in a blanket|made a bed from {his} {thing}|carried it home in {his} {thing}] and gave "
            "it [warm milk|water and bread|some soup]. {Friend} [brought soft hay|knew what to do|helped every day].",
            "Day by day it grew [stronger|bigger]. It [followed {name} everywhere|slept next to {name}|made {name} "
            "laugh]. But one day it [looked at the sky|stood at the door|heard a call from far away]. {Name} "
            "[understood|knew what it wanted].",
            '"[You may go|You have to go home|I will miss you]," said {name}, and {he} opened the door. It [turned '
            "around once|looked back|gave a small cry], and then it was gone. {Name} was [sad and happy at once|very "
            "quiet].",
            "In spring there was a sound at the window. It had come back, with [a whole family|a friend|a {color} "
            "feather for {name}]!",
        ),
    ),
    Plot(
        "brave",
        (
            "{Name} found a folded drawing in an old {thing}. It showed a way to {spot}, and there was a [big "
            'cross|small star] on it. "[A treasure|Look at this]!" {he} said to {friend}. "[Let us go and see|We '
            'must find it]."',
            "They packed {food} and [left at sunrise|walked all morning|crossed the river]. [The way was long.|The "
            "woods grew dark.|Fog came down.] {Friend} [wanted to go back|was afraid of the shadows|had sore feet]. "
            '"[Just a little more|We are almost there|I am with you]," said {name}.',
            "At last they came to the place. They dug [with their hands|with a stick|for an hour] and found [a "
            "wooden box|an iron box]. {Name} opened it [slowly|with shaking hands]. [There was no gold inside.|It "
            "was not gold.]",
            'Inside was a {color} {thing2} and a letter. "[The treasure is the friend who came with you|You came '
            'this far, so you are brave|The best part was the way]," it said. {Friend} [laughed|read it '
            "twice|grinned].",
            "They put [a letter of their own|a button and a shell] into the box for [the next one|others to find] "
            "and [walked home in the evening light|sang all the way home].",
        ),
    ),
    Plot(
        "honest",
        (
            "It was the day of the [village party|harvest feast|spring dance], and {name} had to bring {food}. But "
            "on the way {he} [got hungry|smelled it and stopped|sat down to rest]. {He} took [one bite|a small "
            "piece], then another, and soon it was all gone.",
            '"[Oh no|This is bad|They will be angry]," thought {name}. {He} saw a {color} {thing} on the road and '
            'had an idea. "A [thief|giant bird|wolf] took it," {he} told {friend}, "and left only this {thing}."',
            "Everybody [was afraid|went to look for the thief|stayed inside]. The music stopped. {Friend} [stood "
            "guard at {spot}|locked the door|searched all night]. {Name} saw [the sad faces|what {he} had done] and "
            "[could not bear it|felt very small].",
            '{He} climbed on a chair. "There was no thief," {he} said. "I ate it all, and then I told a lie." For a '
            'moment it was [still|very quiet]. Then {friend} [began to laugh|shook a finger and smiled]. "[Then you '
            'can help us make more|You must wash the dishes|Next time, bring two]!"',
            "{Name} [worked in the kitchen|washed every plate], and when the music began again, {he} danced [the "
            "longest|with {friend}|with a light heart].",
        ),
    ),
)

OPENINGS = (
    "Once upon a time, there was a {trait} {kind} named {name}. {He} lived {place}.",
    "Once upon a time, {place}, there lived a {trait} {kind} named {name}.",
    "There once was a {trait} {kind} called {name} who lived {place}.",
    "{Name} was a {trait} {kind}. {He} lived {place} [with {his} family|in a small house|all year long].",
    "Long ago, a {kind} named {name} lived {place}. {He} was {trait} and {trait2}.",
    "Once there was a {kind} whose name was {name}. Everybody said that {name} was {trait}.",
)
FRIEND_LINES = (
    "[{His} best friend was|{He} often played with|Next door lived] {friend}, a {friend_kind}.",
    "{He} had a friend, a {friend_kind} named {friend}.",
)
CLOSINGS = (
    "And {name} knew that {lesson}.",
    "From that day on, {name} never forgot that {lesson}.",
    "That was how {name} learned that {lesson}.",
    '"I learned something today," said {name}. "[I think|Now I know] {lesson}."',
    "And if you ask {name}, {he} will tell you that {lesson}.",
)
LAST_WORDS = ("", "", " The end.", " They were happy for a long time.", " And that night, everybody slept well.")
CHOICE = re.compile(r"\[([^\[\]]*)\]")


def expand(template: str, facts: dict[str, str], rng: random.Random) -> str:
    """Choose innermost brackets first, then fill the slots."""
    while "[" in template:
        template = CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    return template.format(**facts)


def polish(text: str) -> str:
    """Correct what templates cannot know: a or an, doubled spaces."""
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return re.sub(r" {2,}", " ", text).strip()


@dataclass(frozen=True)
class Hero:
    """Who the story is about, and with what; the pair (kind, thing) decides the split."""

    kind: str
    thing: str
    name: str
    female: bool


def draw_hero(rng: random.Random) -> Hero:
    """A hero: animals three times as often as children."""
    kind = rng.choice(ANIMALS) if rng.random() < 0.75 else rng.choice(CHILDREN)
    female = kind == "girl" or (kind != "boy" and rng.random() < 0.5)
    return Hero(kind, rng.choice(THINGS), rng.choice(GIRLS if female else BOYS), female)


def story_facts(hero: Hero, rng: random.Random) -> dict[str, str]:
    """All slots of one story."""
    friend_kind = rng.choice([k for k in ANIMALS if k != hero.kind])
    friend = rng.choice([n for n in GIRLS + BOYS if n != hero.name])
    trait, trait2 = rng.sample(TRAITS, 2)
    thing2 = rng.choice([t for t in THINGS if t != hero.thing])
    he, him, his = ("she", "her", "her") if hero.female else ("he", "him", "his")
    facts = {
        "name": hero.name,
        "kind": hero.kind,
        "thing": hero.thing,
        "thing2": thing2,
        "friend": friend,
        "friend_kind": friend_kind,
        "trait": trait,
        "trait2": trait2,
        "he": he,
        "him": him,
        "his": his,
        "color": rng.choice(COLORS),
        "food": rng.choice(FOODS),
        "place": rng.choice(PLACES),
        "spot": rng.choice(SPOTS),
        "weather": rng.choice(WEATHERS),
    }
    return facts | {k.capitalize(): facts[k].capitalize() for k in ("name", "friend", "he", "his")}


def tell(hero: Hero, rng: random.Random) -> str:
    """One story of about 120 to 180 words; drawn again until the thing that was asked for occurs in it."""
    while True:
        text = draft(hero, rng)
        if f" {hero.thing}" in text:
            return text


def draft(hero: Hero, rng: random.Random) -> str:
    """One pass through a plot, with paragraph breaks at random."""
    plot = rng.choice(PLOTS)
    facts = story_facts(hero, rng)
    facts["lesson"] = expand(LESSONS[plot.lesson], facts, rng)
    opening = f"{rng.choice(OPENINGS)} {rng.choice(FRIEND_LINES)}"
    closing = rng.choice(CLOSINGS) + rng.choice(LAST_WORDS)
    pieces = [expand(part, facts, rng) for part in (opening, *plot.parts, closing)]
    text = pieces[0]
    for piece in pieces[1:]:
        text += ("\n\n" if rng.random() < 0.4 else " ") + piece
    return "\n\n".join(polish(paragraph) for paragraph in text.split("\n\n"))
