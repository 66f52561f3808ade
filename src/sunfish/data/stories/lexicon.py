"""Owns the words of the stories: names, characters, things, places, moods, endings and small word classes."""

from __future__ import annotations

from sunfish.data.stories.text_files import FOLDER, read_pairs


def words(text: str) -> tuple[str, ...]:
    """The words of `text`."""
    return tuple(text.split())


FEMALE_NAMES: tuple[str, ...] = words(
    "Mia Anna Lucy Sara Emma Nora Zoe Clara Ella Maya Alice Julia Tina Lena Molly Hannah Greta Nina Eva "
    "Amy Sophie Kate Jane Rita Polly Betty Wendy Tilly Leila Yuki Priya Amara Ingrid Paula Marta Olivia "
    "Carmen Sofia Fatima Helen Bella Dora Elsa Freya"
)
MALE_NAMES: tuple[str, ...] = words(
    "Tom Ben Sam Leo Max Jack Tim Finn Oscar Peter David Adam Noah Liam Hugo Felix Paul Otto Milo Ravi "
    "Omar Ali Kofi Henry George Simon Victor Walter Theo Jonah Daniel Martin Erik Pedro Diego Anton Ivan "
    "Kenji Toby Rory Bruno Edgar Harry Arthur"
)
NAMES: tuple[str, ...] = FEMALE_NAMES + MALE_NAMES

FEMALE_KINDS: tuple[str, ...] = ("girl", "queen", "princess", "witch", "mermaid")
MALE_KINDS: tuple[str, ...] = ("boy", "king", "prince")
PEOPLE: tuple[str, ...] = words(
    "baker sailor farmer painter knight pirate clown astronaut gardener teacher doctor shepherd tailor "
    "singer dancer inventor explorer wizard"
)
CREATURES: tuple[str, ...] = words("robot dragon giant elf ghost monster unicorn troll gnome")
ANIMALS: tuple[str, ...] = words(
    "dog cat rabbit fox bear mouse owl duck pig horse cow frog turtle squirrel hedgehog penguin elephant "
    "lion tiger monkey wolf goat donkey kitten puppy crow otter badger beaver camel"
)
KINDS: tuple[str, ...] = FEMALE_KINDS + MALE_KINDS + PEOPLE + CREATURES + ANIMALS

THINGS: tuple[str, ...] = words(
    "kite ball lamp drum key map hat scarf book clock bell umbrella lantern basket blanket ring coin "
    "button spoon cup teapot doll puppet boat wagon sled whistle feather shell crown mirror candle box "
    "jar bucket pencil balloon rope glove boot ribbon necklace watch camera telescope compass trumpet "
    "flute violin guitar kettle pillow hammer wheel flag marble acorn pumpkin toy coat mask vase bottle "
    "backpack notebook paintbrush wallet statue medal helmet magnet suitcase envelope harp "
    "rocket train"
)

# preposition, place
PLACES: tuple[tuple[str, str], ...] = tuple(
    (prep, word)
    for prep, listed in (
        (
            "at",
            "beach lake market library school castle harbor zoo museum station theater lighthouse "
            "bakery playground fair mill farm",
        ),
        (
            "in",
            "forest park village meadow cave kitchen attic desert jungle valley barn orchard tower "
            "workshop swamp",
        ),
        ("on", "hill mountain island bridge"),
    )
    for word in listed.split()
)
PLACE_WORDS: tuple[str, ...] = tuple(word for _, word in PLACES)

# word, is it female
KIN: tuple[tuple[str, bool], ...] = (
    ("mother", True),
    ("father", False),
    ("grandmother", True),
    ("grandfather", False),
    ("aunt", True),
    ("uncle", False),
    ("sister", True),
    ("brother", False),
)

# Small classes: each is one variable of a story, drawn once and kept.
CLASSES: dict[str, tuple[str, ...]] = {
    "color": words("red blue green yellow purple orange pink white black brown golden silver"),
    "color2": words("red blue green yellow purple orange pink white black brown golden silver"),
    "size": words("little small young tiny tall old"),
    "trait": words("brave kind clever curious friendly shy honest patient busy gentle hungry polite"),
    "food": words("apple sandwich carrot pancake muffin cookie banana pear potato pie pretzel"),
    "tree": words("oak pine apple willow birch maple cherry chestnut"),
    "flower": words("tulip poppy daisy sunflower violet lily rose bluebell"),
    "num": words("two three four five six seven eight nine ten"),
    "critter": words("bird snail beetle butterfly moth lizard sparrow cricket ladybug robin"),
    "instrument": words("piano banjo cello horn accordion xylophone"),
    "container": words("bag pocket drawer chest cupboard crate"),
    "season": words("spring summer autumn winter"),
    "weekday": words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "Day": (
        "One sunny morning",
        "Early one morning",
        "One windy afternoon",
        "One cold evening",
        "One quiet Sunday",
        "On a warm spring day",
        "On a bright autumn day",
        "Just after breakfast",
        "One long afternoon",
        "Late one evening",
        "On a cloudy day",
        "On the first day of summer",
    ),
    "noise": (
        "tap, tap, tap",
        "bump, bump, bump",
        "click, clack, click",
        "squeak, squeak",
        "rattle, rattle",
        "whoosh, whoosh",
        "thump, thump",
        "ding, dong",
    ),
    "material": words("wood paper clay wool glass tin stone cloth"),
    "virtue": words("patience kindness courage honesty sharing friendship practice trust"),
}

# Mood -> words that only the sentences of that mood use; the mood check counts them.
MOODS: dict[str, tuple[str, ...]] = {
    "happy": ("happy", "happily", "glad", "joy", "joyful", "cheerful", "delighted"),
    "sad": ("sad", "sadly", "sadness", "tears", "sorrow", "lonely", "wept"),
    "funny": ("funny", "silly", "giggled", "giggle", "joke", "goofy", "clumsy"),
    "scary": ("scary", "scared", "spooky", "frightened", "trembled", "creepy", "afraid"),
    "calm": ("calm", "calmly", "peaceful", "peacefully", "peace", "hushed"),
    "exciting": ("exciting", "excited", "thrill", "thrilling", "adventure", "breathless"),
    "magical": ("magical", "magic", "enchanted", "spell", "sparkled", "wondrous"),
    "mysterious": ("mysterious", "mystery", "strange", "secret", "puzzling", "riddle"),
}

# ending: (how a prompt says it, words that show it in the last two sentences)
ENDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "rain": ("rain", ("rain", "raindrops")),
    "hug": ("a hug", ("hug", "hugged", "hugs")),
    "song": ("a song", ("song", "sang", "songs")),
    "feast": ("a feast", ("feast",)),
    "rainbow": ("a rainbow", ("rainbow",)),
    "sleep": ("sleep", ("sleep", "asleep")),
    "surprise": ("a surprise", ("surprise", "surprised")),
    "promise": ("a promise", ("promise", "promised")),
    "laughter": ("laughter", ("laughter", "laughed", "laughing")),
    "snow": ("snow", ("snow", "snowflakes")),
    "stars": ("stars", ("stars",)),
    "dance": ("a dance", ("dance", "danced", "dancing")),
    "gift": ("a gift", ("gift", "gifts")),
    "sunset": ("a sunset", ("sunset",)),
    "party": ("a party", ("party",)),
    "moon": ("the moon", ("moon", "moonlight")),
    "tea": ("a cup of tea", ("tea",)),
    "goodbye": ("a goodbye", ("goodbye",)),
    "picnic": ("a picnic", ("picnic",)),
}

# Nouns whose plural follows no rule -> their plural.
_PLURALS = read_pairs(FOLDER / "plurals.txt")


def plural(noun: str) -> str:
    """The plural of `noun`."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def with_article(phrase: str) -> str:
    """`phrase` after "a" or "an", by how its first word sounds."""
    first = phrase.split()[0].lower()
    vowel = first[0] in "aeiou" and not first.startswith(("uni", "use", "one"))
    return ("an " if vowel or first in ("honest", "hour") else "a ") + phrase


def capital(phrase: str) -> str:
    """`phrase` with its first letter in upper case."""
    return phrase[0].upper() + phrase[1:]
