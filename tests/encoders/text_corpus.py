"""Ten thousand texts, the same in every run: prose, noise, scripts, odd characters."""

# ruff: noqa: RUF001, SIM905

import functools
import pydoc_data.topics
import random
import re
import unicodedata

from tests.encoders.golden.token_strings import SPACES, WORDS

SIZE = 10_000
EMOJI = "🙂 😂 👍🏽 👩‍👩‍👧 🇨🇭 ❤️ 🏳️‍🌈 1️⃣ ☃ ✈️ 🧑‍🚀 🤷🏻‍♀️".split(" ")
CONTRACTIONS = "'s 'S 't 're 've 'm 'll 'd 'D 'LL ’s ’t ' '' n't `` ''".split(" ")
# First and last characters of scripts and signs that have been in Unicode for long.
RANGES = [
    "\u00a1\u017f", "\u0180\u0233", "\u0300\u033f", "\u0386\u03ff", "\u0400\u0481",
    "\u0531\u0587", "\u05d0\u05ea", "\u0621\u0655", "\u0905\u0970", "\u0e01\u0e5b",
    "\u1e00\u1ef9", "\u2000\u206f", "\u20a0\u20b1", "\u2100\u218f", "\u2190\u23ff",
    "\u2460\u27bf", "\u3000\u30ff", "\u4e00\u9fa5", "\uac00\ud7a3", "\uf900\ufa2d",
    "\ufb00\ufb4f", "\uff01\uffe6", "\U0001d400\U0001d7ff", "\U00020000\U0002a6d6",
    "\u0000\u00a0",
]  # fmt: skip


@functools.cache
def corpus() -> tuple[str, ...]:
    """The texts. Their characters are of Unicode 3.2, and emoji."""
    rng = random.Random(0)
    sentences = _sentences()
    prose = rng.choices(sentences, k=SIZE * 4 // 10)
    noise = [_spoil(rng, text) for text in rng.choices(sentences, k=SIZE * 3 // 10)]
    pools = [old_characters(*map(ord, ends)) for ends in RANGES]
    scripts = [_script(rng, pools) for _ in range(SIZE * 2 // 10)]
    odd = ["", " ", "\0", "\n \n", "a\0b", "x" * 101 + " y", "é" * 100, "漢字" * 60]
    everything = old_characters()
    for _ in range(SIZE // 10 - len(odd)):
        odd.append("".join(rng.choices(everything, k=rng.randint(1, 12))))
    return (*prose, *noise, *scripts, *odd)


def old_characters(first: int = 0, last: int = 0x10FFFF) -> list[str]:
    """The characters of Unicode 3.2: every edition since knows them."""
    old = unicodedata.ucd_3_2_0
    characters = (chr(code) for code in range(first, last + 1))
    return [c for c in characters if old.category(c) not in ("Cn", "Cs")]


def _sentences() -> list[str]:
    """Python's own manual, a sentence or so at a time."""
    text = "\n\n".join(pydoc_data.topics.topics.values())
    parts = re.split(r"(?<=[.:!?])\s+(?=[A-Z\"(])|\n\n+", text)
    return [" ".join(part.split())[:160] for part in parts if len(part) > 20]


def _spoil(rng: random.Random, text: str) -> str:
    words = text.split(" ")[:14]
    for _ in range(rng.randint(2, 6)):
        at = rng.randrange(len(words))
        word = words[at]
        words[at] = rng.choice(
            [
                word.upper(),
                word.title() + rng.choice(CONTRACTIONS),
                word + rng.choice("!?.,;:…—-_") * rng.randint(1, 4),
                word[:2] + rng.choice("\u0301\u0308\u0327\u200b\u00ad") + word[2:],
                f"{word}{rng.randint(0, 10 ** rng.randint(1, 9))}",
                rng.choice(EMOJI) + rng.choice(EMOJI),
                rng.choice(WORDS),
                "".join(rng.sample(word, len(word))),
            ]
        )
    return "".join(word + rng.choice(SPACES) for word in words)


def _script(rng: random.Random, pools: list[list[str]]) -> str:
    pool = rng.choice(pools)
    words = ["".join(rng.choices(pool, k=rng.randint(1, 6))) for _ in range(4)]
    words += rng.choices(WORDS + EMOJI, k=2)
    rng.shuffle(words)
    return rng.choice([" ", "", "  "]).join(words)
