"""Small texts made of templates: data for trying text tasks out in seconds."""

import dataclasses
import itertools
import json
import os
import pathlib

import numpy as np

FIRST_NAMES = ["Anna", "Boris", "Carla", "David", "Elena", "Felix", "Greta", "Henrik"]
LAST_NAMES = ["Keller", "Novak", "Olsen", "Price", "Rossi", "Stone"]
COMPANIES = [
    "Nordbank",
    "Solaris",
    "Vertex",
    "Acme",
    "Lumina",
    "Orion",
    "Titan",
    "Zephyr",
]
CITIES = ["Paris", "Oslo", "Lisbon", "Vienna", "Cairo", "Lima", "Quito", "Delhi"]
# Kinds of head and tail, two ways to say it, and the question with its answer.
RELATIONS = {
    "works_for": (
        *("PER", "ORG", "{head} works for {tail} .", "{tail} employs {head} ."),
        *("Who works for {tail}?", "head"),
    ),
    "founded": (
        *("PER", "ORG", "{head} founded {tail} .", "{tail} was started by {head} ."),
        *("Who founded {tail}?", "head"),
    ),
    "lives_in": (
        *("PER", "LOC", "{head} lives in {tail} .", "{tail} is the home of {head} ."),
        *("Where does {head} live?", "tail"),
    ),
    "based_in": (
        *(
            "ORG",
            "LOC",
            "{head} is based in {tail} .",
            "{tail} is the seat of {head} .",
        ),
        *("Where is {head} based?", "tail"),
    ),
}
EXAMPLES = {"train": 240, "validation": 48, "test": 48}


@dataclasses.dataclass(frozen=True)
class TemplateTexts:
    """Files of the same sort of texts, for each kind of task.

    Attributes:
        table: JSONL file with the columns `id`, `split`, `text` and `label` (which
            relation it tells), `text_pair` and `pair_label` (whether it tells the
            same as `text`), `number` (people that are named in `story`), `story`,
            `marked`, the text with its entities in `<e1>` and `<e2>`, and `reworded`,
            another way to say it.
        conll: Files with a word and its entity's tag a line, by split.
        squad: Files of questions in SQuAD's format, by split; one in five has no
            answer.
    """

    table: str
    conll: dict[str, str]
    squad: dict[str, str]


def write_template_texts(folder: str | os.PathLike, seed: int = 0) -> TemplateTexts:
    """Writes short texts on who works where, who lives where, and what was founded.

    Args:
        folder: Where the files go; made if it is not there.
        seed: Seed of what is drawn.

    Returns:
        `TemplateTexts`.

    Example:
        >>> files = kmmft.data.write_template_texts("texts")
        >>> with open(files.conll["train"]) as file:
        ...     file.readline().split()
        ['Orion', 'B-ORG']
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows, conll, squad = [], {}, {}
    for split, count in EXAMPLES.items():
        facts = [_Fact.draw(random) for _ in range(count)]
        rows += [_row(random, split, n, fact) for n, fact in enumerate(facts)]
        conll[split] = str(folder / f"{split}.conll")
        pathlib.Path(conll[split]).write_text("".join(map(_tagged_lines, facts)))
        squad[split] = str(folder / f"{split}.json")
        entries = [_asked(random, f"{split}-{number}") for number in range(count)]
        pathlib.Path(squad[split]).write_text(
            json.dumps({"version": "v2.0", "data": entries})
        )
    table = folder / "texts.jsonl"
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return TemplateTexts(str(table), conll, squad)


@dataclasses.dataclass(frozen=True)
class _Fact:
    relation: str
    head: str
    tail: str
    way: int

    @classmethod
    def draw(cls, random: np.random.Generator, relation: str | None = None) -> "_Fact":
        relation = relation or str(random.choice(list(RELATIONS)))
        head, tail = RELATIONS[relation][:2]
        return cls(
            relation, _name(random, head), _name(random, tail), int(random.integers(2))
        )

    def words(self, head: str | None = None, tail: str | None = None) -> str:
        """The sentence, as words with single spaces between them."""
        pattern = RELATIONS[self.relation][2 + self.way]
        return pattern.format(head=head or self.head, tail=tail or self.tail)

    def text(self) -> str:
        return _joined(self.words())


def _joined(words: str) -> str:
    return words.replace(" .", ".")


def _name(random: np.random.Generator, kind: str) -> str:
    if kind == "PER":
        return f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}"
    return str(random.choice(COMPANIES if kind == "ORG" else CITIES))


def _row(random: np.random.Generator, split: str, number: int, fact: _Fact) -> dict:
    other = _Fact.draw(random)
    if random.random() < 0.5:
        other = dataclasses.replace(fact, way=1 - fact.way)
    same = (fact.relation, fact.head, fact.tail) == (
        *(other.relation, other.head, other.tail),
    )
    story = [_Fact.draw(random) for _ in range(random.integers(1, 5))]
    marked = fact.words(f"<e1> {fact.head} </e1>", f"<e2> {fact.tail} </e2>")
    return {
        "id": f"{split}-{number}",
        "split": split,
        "text": fact.text(),
        "label": fact.relation,
        "text_pair": other.text(),
        "pair_label": "same" if same else "other",
        "story": " ".join(sentence.text() for sentence in story),
        "number": sum(RELATIONS[one.relation][0] == "PER" for one in story),
        "marked": _joined(marked),
        "reworded": dataclasses.replace(fact, way=1 - fact.way).text(),
    }


def _tagged_lines(fact: _Fact) -> str:
    kinds = dict(zip(("head", "tail"), RELATIONS[fact.relation][:2], strict=True))
    lines = []
    for part in RELATIONS[fact.relation][2 + fact.way].split(" "):
        entity = part.strip("{}")
        if entity not in kinds:
            lines.append(f"{part} O")
            continue
        names = getattr(fact, entity).split(" ")
        prefixes = itertools.chain("B", itertools.repeat("I"))
        lines += [
            f"{n} {p}-{kinds[entity]}" for n, p in zip(names, prefixes, strict=False)
        ]
    return "\n".join([*lines, "\n"])


def _asked(random: np.random.Generator, name: str) -> dict:
    order = random.permutation(list(RELATIONS))
    facts = [_Fact.draw(random, str(relation)) for relation in order]
    # What is asked for is left out of some stories.
    asked, unanswerable = facts[0], bool(random.random() < 0.2)
    told = [facts[n] for n in random.permutation(4) if n or not unanswerable]
    context = " ".join(fact.text() for fact in told)
    *_, question, part = RELATIONS[asked.relation]
    answers = []
    if not unanswerable:
        start = context.index(asked.text()) + asked.text().index(getattr(asked, part))
        answers = [{"text": getattr(asked, part), "answer_start": start}]
    entry = {
        "id": name,
        "question": question.format(head=asked.head, tail=asked.tail),
        "answers": answers,
        "is_impossible": unanswerable,
    }
    return {"title": name, "paragraphs": [{"context": context, "qas": [entry]}]}
