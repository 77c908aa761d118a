"""Entities in tagged sentences, and how many of them are found."""

import collections
from collections.abc import Iterator, Sequence

Entity = tuple[str, int, int]


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a tagged sentence, as the CoNLL scripts read them.

    A tag is `O`, or a prefix, a dash and a kind: `B-PER` begins an entity, `I-PER` goes
    on with it, and `E-PER` and `S-PER` (also `L-`, `U-`) end one. What is not regular
    is read leniently: `I-PER` after anything but a PER begins an entity.

    Args:
        tags: One tag a word.

    Returns:
        Kind, first word and last word of each, in order.

    Raises:
        ValueError: If a tag is of another form.

    Example:
        >>> kmmft.metrics.entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
        [('PER', 0, 1), ('LOC', 3, 3), ('LOC', 4, 4)]

    References:
        - [Tjong Kim Sang and De Meulder, 2003](https://aclanthology.org/W03-0419),
          section 2.
    """
    found, open_kind, first = [], None, 0
    for place, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        goes_on = kind is not None and kind == open_kind and prefix in "IELM"
        if open_kind is not None and not goes_on:
            found.append((open_kind, first, place - 1))
        if kind is not None and not goes_on:
            first = place
        open_kind = kind
        if kind is not None and prefix in "ELSU":
            found.append((kind, first, place))
            open_kind = None
    if open_kind is not None:
        found.append((open_kind, first, len(tags) - 1))
    return found


def split_tag(tag: str) -> tuple[str, str | None]:
    """Prefix and kind of a tag; `("O", None)` outside of entities.

    Raises:
        ValueError: If it is of another form.

    Example:
        >>> split_tag("B-PER"), split_tag("O")
        (('B', 'PER'), ('O', None))
    """
    prefix, dash, kind = tag.partition("-")
    if tag == "O":
        return "O", None
    if len(prefix) != 1 or prefix not in "BIELSUM" or not dash or not kind:
        raise ValueError(
            "A tag of an entity must be O, or one of B, I, E, L, S, U and M with a "
            f"dash and a kind, such as B-PER. Received: {tag!r}."
        )
    return prefix, kind


def entity_metrics(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Precision, recall and F1 of entities: right in kind, beginning and end.

    Equal to `seqeval`'s (its default, lenient mode) and to CoNLL's script.

    Args:
        targets: The right tags of each sentence.
        predictions: Those that were predicted, as many.

    Returns:
        A flat dict: `entity_precision`, `entity_recall` and `entity_f1` of all
        entities, and `entity_f1/KIND` and `entities/KIND` (their number among the
        targets) for each kind. What has no entities to count is 0.

    Raises:
        ValueError: If sentences or words differ in number, there is no sentence, or a
            tag is no tag.

    Example:
        >>> scores = kmmft.metrics.entity_metrics(
        ...     [["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "O", "O", "B-LOC"]])
        >>> scores["entity_f1"], scores["entity_f1/LOC"]
        (0.5, 1.0)

    References:
        - [Tjong Kim Sang and De Meulder, 2003](https://aclanthology.org/W03-0419),
          section 2.3.
    """
    targets, predictions = list(targets), list(predictions)
    _check(targets, predictions)
    wanted, given = set(_placed(targets)), set(_placed(predictions))
    scores = dict(
        zip(
            ("entity_precision", "entity_recall", "entity_f1"),
            _scores(len(wanted & given), len(given), len(wanted)),
            strict=True,
        )
    )
    right, guessed, real = (
        collections.Counter(kind for _, (kind, *_) in entities_)
        for entities_ in (wanted & given, given, wanted)
    )
    for kind in sorted({*guessed, *real}):
        *_, f1 = _scores(right[kind], guessed[kind], real[kind])
        scores |= {f"entity_f1/{kind}": f1, f"entities/{kind}": real[kind]}
    return scores


def _placed(sentences: list) -> Iterator[tuple[int, Entity]]:
    for number, tags in enumerate(sentences):
        for entity in entities(tags):
            yield number, entity


def _scores(right: int, guessed: int, real: int) -> tuple[float, float, float]:
    precision = right / guessed if guessed else 0.0
    recall = right / real if real else 0.0
    total = guessed + real
    return precision, recall, 2 * right / total if total else 0.0


def _check(targets: list, predictions: list) -> None:
    if not targets or len(targets) != len(predictions):
        raise ValueError(
            "There must be a sentence, and as many predicted ones as right ones. "
            f"Received: {len(targets)} right and {len(predictions)} predicted."
        )
    pairs = zip(targets, predictions, strict=True)
    for row, (right, predicted) in enumerate(pairs):
        if len(right) != len(predicted):
            raise ValueError(
                "Every word must have a tag. Received: "
                f"{len(right)} right and {len(predicted)} predicted tags in sentence "
                f"{row}."
            )
