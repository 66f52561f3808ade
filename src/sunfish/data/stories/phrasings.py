"""Owns the phrasings in which prompts state their constraints."""

from __future__ import annotations

# A phrasing that is listed several times is drawn that much more often: these are what people type.
PLAIN = (
    *("Write about {pl}",) * 3,
    "Write about {pl}",
    "Write something about {pl}",
    "Tell me about {pl}",
    "Please write about {pl}",
    "I would like to hear about {pl}",
    "Can you write about {pl}",
    "Write a few lines about {pl}",
)
STORY = (
    *("Write {story} about {a}",) * 4,
    "Tell {story} about {a}",
    "Tell me {story} about {a}",
    "Please write {story} about {a}",
    "Make up {story} about {a}",
    "I want {story} about {a}",
    "Give me {story} about {a}",
    "{Story} about {a}",
    "Can you tell {story} about {a}",
    "Create {story} about {a}",
    "Let me hear {story} about {a}",
    "Write me {story} about {a}",
    "Invent {story} about {a}",
    "Please tell me {story} about {a}",
)
DESCRIBE = (
    *("Describe {the}",) * 4,
    "Describe {the}",
    "Please describe {the}",
    "Give me a description of {the}",
    "Tell me what {the} is like",
    "Write a description of {the}",
)
EXPLAIN = (
    "Explain {question}",
    "Can you explain {question}",
    "Tell me {question}",
    "I want to know {question}",
)
BARE = ("Write {story}", "Tell me {story}", "Please tell {story}", "Make up {story}", "{Story}")
NOUNS = ("story", "story", "story", "story", "short story", "tale", "little story", "bedtime story")
NAMED = (" named {name}", " called {name}")
NAME = (
    "The main character is called {name}",
    "Call the hero {name}",
    "Name the main character {name}",
    "It is about {name}",
    "The hero is {name}",
)
PLACE = ("It takes place {place}", "Set it {place}", "It happens {place}", "Let it begin {place}")
MOOD = ("Make it {mood}", "It should be {mood}", "Keep it {mood}", "The mood is {mood}")
WORDS = ("Use the {words}", "Include the {words}", "It must contain the {words}", "Work in the {words}")
WORDS_INLINE = (" with the {words}", " that uses the {words}")
ENDING = (
    "It ends with {ending}",
    "End with {ending}",
    "Let it finish with {ending}",
    "It should end with {ending}",
)
ENDING_INLINE = (" that ends with {ending}", " ending with {ending}")
PHRASINGS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *PLAIN,
            *STORY,
            *DESCRIBE,
            *EXPLAIN,
            *BARE,
            *NAMED,
            *NAME,
            *PLACE,
            *MOOD,
            *WORDS,
            *WORDS_INLINE,
            *ENDING,
            *ENDING_INLINE,
        )
    )
)
