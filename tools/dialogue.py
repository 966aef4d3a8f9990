"""An endless everyday conversation in English in which no sentence occurs twice, the same for the same seed.

Exchanges are patterns of a few lines; their slots are drawn anew each time. A line that was said before is
drawn again, and an exchange that has nothing new left to say is retired.
"""

import random
import re
from collections.abc import Iterator, Sequence

from tools.conversation import Line

SLOTS: dict[str, tuple[str, ...]] = {
    "person": (
        "Anna",
        "Peter",
        "Maria",
        "James",
        "Laura",
        "Daniel",
        "Sophie",
        "Martin",
        "Helen",
        "Robert",
        "Emma",
        "David",
        "Julia",
        "Thomas",
        "Alice",
        "Simon",
        "Nora",
        "Frank",
        "Karen",
        "Michael",
        "Susan",
        "Edward",
        "Linda",
        "George",
        "Grace",
        "Henry",
        "Rachel",
        "Oliver",
        "Diana",
        "Patrick",
    ),
    "place": (
        "the library",
        "the harbour",
        "the old station",
        "the bakery",
        "the town hall",
        "the museum",
        "the garden",
        "the school",
        "the hospital",
        "the theatre",
        "the market",
        "the workshop",
        "the river",
        "the airport",
        "the post office",
        "the swimming pool",
        "the castle",
        "the factory",
        "the farm",
        "the bridge",
        "the university",
        "the bookshop",
        "the car park",
        "the village",
        "the stadium",
    ),
    "thing": (
        "bicycle",
        "kitchen table",
        "printer",
        "camera",
        "bookshelf",
        "heating",
        "lawn mower",
        "front door",
        "coffee machine",
        "projector",
        "piano",
        "washing machine",
        "garden fence",
        "radio",
        "suitcase",
        "window",
        "microphone",
        "lamp",
        "sofa",
        "telephone",
        "carpet",
        "oven",
        "mirror",
        "ladder",
        "clock",
    ),
    "food": (
        "potato soup",
        "apple cake",
        "fresh bread",
        "grilled fish",
        "tomato salad",
        "mushroom rice",
        "onion tart",
        "roast chicken",
        "lemon tea",
        "cheese and olives",
        "pumpkin pie",
        "bean stew",
        "chocolate pudding",
        "fried eggs",
        "vegetable curry",
        "pancakes with honey",
        "strawberry jam",
        "carrot juice",
    ),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": (
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
    ),
    "job": (
        "dentist",
        "teacher",
        "engineer",
        "nurse",
        "gardener",
        "journalist",
        "carpenter",
        "lawyer",
        "pilot",
        "librarian",
        "photographer",
        "plumber",
        "musician",
        "accountant",
        "translator",
        "electrician",
        "baker",
    ),
    "weather": (
        "rain",
        "snow",
        "strong wind",
        "fog",
        "sunshine",
        "thunder",
        "frost",
        "warm air",
        "heavy clouds",
        "a cold morning",
        "a dry week",
        "a storm",
    ),
    "hobby": (
        "painting",
        "sailing",
        "chess",
        "cooking",
        "photography",
        "singing",
        "gardening",
        "running",
        "climbing",
        "reading old maps",
        "playing the violin",
        "learning Italian",
        "repairing watches",
        "swimming",
        "pottery",
        "bird watching",
    ),
    "feeling": (
        "surprised",
        "relieved",
        "tired",
        "curious",
        "worried",
        "delighted",
        "annoyed",
        "proud",
        "nervous",
        "grateful",
        "impatient",
        "confused",
    ),
    "quality": (
        "quiet",
        "expensive",
        "beautiful",
        "crowded",
        "modern",
        "strange",
        "comfortable",
        "dark",
        "simple",
        "famous",
        "noisy",
        "spacious",
        "friendly",
        "narrow",
        "cheerful",
        "practical",
    ),
    "vehicle": ("train", "bus", "ferry", "taxi", "tram", "night train", "car", "boat"),
    "hour": ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    "number": (
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "fifteen",
        "twenty",
        "thirty",
        "forty",
    ),
    "colour": (
        "red",
        "blue",
        "green",
        "yellow",
        "white",
        "black",
        "brown",
        "orange",
        "grey",
        "purple",
        "silver",
    ),
    "reason": (
        "the road was closed",
        "nobody had the key",
        "the lights went out",
        "the order came late",
        "the weather changed",
        "the machine broke down",
        "half of the team was ill",
        "the price went up",
        "the neighbours complained",
        "we forgot the tickets",
        "the meeting took too long",
        "the map was wrong",
        "the water was too cold",
        "the battery was empty",
        "the shop had already closed",
        "the children were asleep",
    ),
    "plan": (
        "visit my parents",
        "paint the kitchen",
        "sell the car",
        "write a long letter",
        "take a cooking class",
        "clean the basement",
        "move to a smaller flat",
        "plant some trees",
        "learn to swim",
        "start a choir",
        "walk along the coast",
        "buy a better bed",
        "invite the neighbours",
        "repair the roof",
        "look for a new job",
        "spend a week in the mountains",
    ),
    "film": (
        "a detective story",
        "an old comedy",
        "a film about whales",
        "a programme about volcanoes",
        "a play about two brothers",
        "a concert from Vienna",
        "a story about a lighthouse",
        "a talk about bees",
        "a documentary about bridges",
        "a show about ancient Egypt",
    ),
}
"""Words by the name of the slot that they fill. A second {name} in an exchange has the same filling."""

EXCHANGES: tuple[tuple[str, ...], ...] = (
    (
        "Have you heard from {person} since {month}?",
        "Only once, on {day}, when {person} called from {place}.",
        "From {place}? I thought {person} had moved away in {month}.",
    ),
    (
        "We need a new {thing} before {month}.",
        "What is wrong with the {thing}?",
        "It stopped working on {day}, right after {person} had used it.",
        "Then ask {person} about that {thing} first.",
    ),
    (
        "What did you think of {place}?",
        "I found {place} rather {quality}, to be honest.",
        "But {person} told me that {place} is {quality} only in {month}.",
    ),
    (
        "I would like to {plan} in {month}.",
        "On your own, or is {person} going to {plan} as well?",
        "{person} has no time before {month}, so it will be just me.",
    ),
    (
        "Why were you so late on {day}?",
        "Because {reason}, and then I missed the {vehicle}.",
        "You could have taken the {vehicle} at {hour} instead.",
    ),
    (
        "Did you watch {film} on {day}?",
        "Yes, and I was quite {feeling} at the end of it.",
        "So was {person}. We talked about {film} for {number} minutes.",
    ),
    (
        "{person} is making {food} tonight.",
        "I have never tasted {food}, is it hard to cook for {number}?",
        "Not at all, but {person} needs about {number} hours for {food}.",
    ),
    (
        "They say that {weather} is coming on {day}.",
        "That would be bad for the party near {place}.",
        "Then {person} has to move everything into the {colour} tent before {day}.",
    ),
    (
        "My cousin {person} works as a {job} now.",
        "As a {job}? I remember that {person} wanted to study {hobby}.",
        "People change, and the work of a {job} pays better than {hobby}.",
    ),
    (
        "How many people came to {place} on {day}?",
        "About {number} of them, mostly friends of {person}.",
        "I expected more than {number}, to tell the truth.",
    ),
    (
        "Is the {colour} {thing} yours?",
        "No, the {colour} one belongs to {person}. Mine is in {place}.",
        "Could I borrow your {thing} until {day}?",
        "Of course, but bring the {thing} back before {month}.",
    ),
    (
        "I started {hobby} in {month}.",
        "That is wonderful, does {person} still enjoy {hobby}?",
        "More than ever, {person} spends {number} hours a week on {hobby}.",
    ),
    (
        "The meeting at {place} begins at {hour}.",
        "Who is going to speak before the {job}?",
        "{person} will, for about {number} minutes.",
    ),
    (
        "I felt {feeling} when I saw the bill for the {thing}.",
        "How much was it for the {thing} and the {thing2}?",
        "{number} hundred euros, and that without the {colour} cover.",
    ),
    (
        "Can we take the {vehicle} to {place}?",
        "We could, but the {vehicle} does not run on {day}.",
        "Then {person} will have to drive us to {place}.",
    ),
    (
        "Somebody left a {colour} {thing} at {place}.",
        "I think it belongs to the {job}.",
        "The {job} said no, and {person} never saw that {thing}.",
    ),
    (
        "Do you remember the summer when {reason}?",
        "How could I forget that {person} was terribly {feeling}?",
        "And in the end we had {food} at {place}.",
    ),
    (
        "Tell me about the new {job} at {place}.",
        "Very {quality}, I would say, and never {feeling}.",
        "{person} said the same thing on {day}.",
    ),
    (
        "I cannot find the keys of the {thing}.",
        "Did you look behind the {colour} box near the {thing}?",
        "Twice, and {person} looked for them in {place}.",
    ),
    (
        "Shall we order {food} for {day}?",
        "Please do, {food} for {number} people.",
        "Only {number}? But {person} is bringing a {job} and {number2} others.",
    ),
    (
        "The way to {place} is closed since {day}.",
        "{person} says that {reason} on {day}.",
        "Then the {vehicle} will be full until {month}.",
    ),
    (
        "{person} wants to {plan}, but only with me.",
        "And are you {feeling} because of {person}?",
        "A little, I would rather {plan2} in {month}.",
    ),
    (
        "It took me {number} days to repair the {thing}.",
        "{number} days for a {thing}, why so long?",
        "First {reason}, and then the {colour} paint was missing.",
    ),
    (
        "What are you reading about {hobby} at the moment?",
        "A {quality} book from {place}, written by a {job}.",
        "{person} gave me that book about {hobby} in {month}.",
    ),
    (
        "The {job} will be here on {day} at {hour}.",
        "Good, because the {thing} makes a {quality} noise.",
        "Perhaps {person} can hear what is wrong with the {thing}.",
    ),
    (
        "In {month} we stayed in a {quality} house near {place}.",
        "With {person} or without?",
        "With {person} and {number} others, and it was full of {colour} furniture.",
    ),
    (
        "I promised {person} to {plan}.",
        "Then you should do it before {day}.",
        "I know, but on {day2} {reason}.",
    ),
    (
        "Have you ever tried {food} with {food2}?",
        "Never, {food} with {food2} sounds rather {quality}.",
        "{person} eats {food} like that every {day}.",
    ),
    (
        "We had {weather} all through {month}.",
        "Here it was just {weather2}, day after day.",
        "So nobody went to {place} in {month} at all?",
    ),
    (
        "Please remind {person} that {place} opens at {hour}.",
        "I will see {person} on {day} anyway.",
        "And say that the {colour} {thing} is ready.",
    ),
)
"""Patterns of exchanges; the lines go from speaker to speaker."""

_SLOT = re.compile(r"{([a-z]+)(\d?)}")
_ATTEMPTS = 200


class Dialogue:
    """Iterates over `Line`s of `speakers` in turn without an end, as long as there is something new to say."""

    def __init__(self, speakers: Sequence[str], seed: int) -> None:
        self._speakers = tuple(speakers)
        self._seed = seed

    def __iter__(self) -> Iterator[Line]:
        rng = random.Random(self._seed)
        said: set[str] = set()
        patterns = list(EXCHANGES)
        deck: list[tuple[str, ...]] = []
        speaker = ""
        while patterns:
            if not deck:
                deck = rng.sample(patterns, len(patterns))
            pattern = deck.pop()
            lines = _fresh(pattern, said, rng)
            if lines is None:
                patterns.remove(pattern)
                continue
            said.update(sentence for line in lines for sentence in sentences(line))
            for line in lines:
                speaker = rng.choice([name for name in self._speakers if name != speaker])
                yield Line(speaker, line, _gap_s(rng))


def sentences(line: str) -> list[str]:
    """The sentences of a line."""
    return re.split(r"(?<=[.?!]) ", line)


def _fresh(pattern: tuple[str, ...], said: set[str], rng: random.Random) -> list[str] | None:
    """The pattern filled so that none of its sentences was said before; None when that fails many times."""
    for _ in range(_ATTEMPTS):
        lines = _fill(pattern, rng)
        new = [sentence for line in lines for sentence in sentences(line)]
        if len(set(new)) == len(new) and said.isdisjoint(new):
            return lines
    return None


def _fill(pattern: tuple[str, ...], rng: random.Random) -> list[str]:
    chosen: dict[str, str] = {}
    for name, number in dict.fromkeys(_SLOT.findall("".join(pattern))):
        others = {text for slot, text in chosen.items() if slot.rstrip("2") == name}
        chosen[name + number] = rng.choice([word for word in SLOTS[name] if word not in others])
    filled = (_SLOT.sub(lambda slot: chosen[slot[1] + slot[2]], line) for line in pattern)
    return [re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", line[0].upper() + line[1:]) for line in filled]


def _gap_s(rng: random.Random) -> float:
    """Silence before a line: mostly short, now and then a thought, one in twelve interrupts."""
    kind = rng.random()
    if kind < 0.08:
        return round(rng.uniform(-0.5, -0.1), 2)
    if kind > 0.9:
        return round(rng.uniform(0.9, 2.0), 2)
    return round(max(0.05, rng.gauss(0.35, 0.15)), 2)
