"""Prose and noise for the tokenizers, the same in every run."""

# ruff: noqa: RUF001, SIM905

import random

WORDS = (
    "a photo of the red car parked near an old house in Zürich, naïve façade "
    "don't we'll it's THEY'RE I'D you've I'm 1234 3.14 2024-05-06 50% €20 "
    "Straße ΟΔΟΣ Σίσυφος ΣΑΣ İstanbul ıssız Ǆ Привет МИР שלום مرحبا नमस्ते 你好世界 "
    "東京タワー 안녕하세요 ไทย café cafe\u0301 ﬁne ½ Ⅷ ² ß ẞ naïve_name snake_case "
    "http://example.com/a?b=c user@mail.org #hashtag C++ (round) [square] {curly} "
    "“quoted” ‘single’ … — – ™ ® ° × ÷ 🙂 👩‍👩‍👧 🇨🇭 ▁under ¡hola! ¿qué? &amp; <b> \\n "
    "supercalifragilistic antidisestablishmentarianism e\u0301\u0302 A\u030a Å "
    "hello world dog cat running through green grass under blue sky tree"
).split(" ")
SPACES = [" "] * 12 + ["  ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\x0b", "\x85"]
PLAIN = WORDS[:9] + WORDS[-14:]


def strings() -> list[str]:
    """Some 2,100 of them."""
    rng = random.Random(0)
    texts = ["", " ", "!", "▁", "a", "A\u00a0b", "  two  spaces  ", "'s 't 'LL '"]
    for _ in range(700):
        texts.append(" ".join(rng.choices(PLAIN, k=rng.randint(3, 12))).capitalize())
    for _ in range(900):
        words = rng.choices(WORDS, k=rng.randint(1, 8))
        texts.append("".join(w + rng.choice(SPACES) for w in words))
    letters = sorted(set("".join(WORDS)))
    for _ in range(500):
        pool = rng.choice([letters, WORDS, list("abc ABC 012 '.,!-_")])
        texts.append("".join(rng.choices(pool, k=rng.randint(1, 12))))
    return texts
