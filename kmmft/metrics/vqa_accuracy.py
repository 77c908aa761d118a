"""VQA's accuracy: answers compared with those of ten people."""

import logging
import re
from collections.abc import Sequence

import numpy as np

from kmmft.metrics.texts import check_texts

logger = logging.getLogger(__name__)
# The one that is left out, and three who say the same.
_ENOUGH = 4

_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {"none": "0"} | {word: str(n) for n, word in enumerate(_NUMBERS.split(" "))}
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
# The official script mends a word that lacks one of the apostrophes of these.
_CONTRACTIONS = re.findall(
    r"\S+",
    """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've
hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am
mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't 'ow's'at
shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've
'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's
where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""",
)
_MENDED = {
    word[: place.start()] + word[place.end() :]: word
    for word in _CONTRACTIONS
    for place in re.finditer("'", word)
} | {"somebody'd": "somebodyd"}


def normalize_answer(answer: str) -> str:
    """Brings an answer into the form in which VQA compares it, by the official rules.

    Lower case, without articles and punctuation, numbers up to ten as digits, and with
    the apostrophes of contractions that lack one.

    Args:
        answer: One answer.

    Returns:
        The answer, normalised.

    Example:
        >>> kmmft.metrics.normalize_answer("The two dogs, dont run!")
        "2 dogs don't run"

    References:
        - [VQA evaluation](https://visualqa.org/evaluation.html), "Evaluation Code".
    """
    text = _strip_punctuation(re.sub(r"[\n\t]", " ", answer).strip())
    words = (_DIGITS.get(word, word) for word in text.lower().split())
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy_of_each(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
    """How many people gave each answer: three are enough for 1.

    The mean, over all choices of all people but one, of `min(1, same answers / 3)`.
    As in the official script the people's answers are not normalised but for their
    punctuation, and not even that where all agree: VQA publishes them normalised. With
    fewer than four people no answer reaches 1, which a warning says.

    Args:
        predictions: One answer an example.
        references: People's answers of each example, ten in VQA v2.

    Returns:
        float64 array `(number,)`, each in [0, 1].

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts`.

    Example:
        >>> people = ["red"] * 3 + ["dark red"] * 7
        >>> kmmft.metrics.vqa_accuracy_of_each(["Red.", "blue"], [people, people])
        array([0.9, 0. ])

    References:
        - [Antol et al., 2015](https://arxiv.org/abs/1505.00468), section 3.
    """
    predictions, references = check_texts(predictions, references)
    few = sum(len(answers) < _ENOUGH for answers in references)
    if few:
        logger.warning(
            "%d of %d examples have answers of fewer than %d people: VQA's accuracy "
            "finds none of them wholly right. kmmft.metrics.squad_metrics would.",
            *(few, len(references), _ENOUGH),
        )
    return np.array(
        [
            _accuracy(normalize_answer(prediction), answers)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
    )


def vqa_accuracy(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> float:
    """Mean of `vqa_accuracy_of_each`: VQA v2's accuracy.

    Args:
        predictions: One answer an example.
        references: People's answers of each example, ten in VQA v2.

    Returns:
        The mean, in [0, 1].

    Raises:
        ValueError: As `kmmft.metrics.texts.check_texts`.

    Example:
        >>> kmmft.metrics.vqa_accuracy(["two"], [["2"] * 8 + ["3"] * 2])
        1.0
    """
    return float(np.mean(vqa_accuracy_of_each(predictions, references)))


def _accuracy(prediction: str, answers: list[str]) -> float:
    if len(set(answers)) > 1:
        answers = [_strip_punctuation(answer) for answer in answers]
    same = np.array([answer == prediction for answer in answers])
    return float(np.minimum(1.0, (same.sum() - same) / 3).mean())


def _strip_punctuation(text: str) -> str:
    stripped = text
    for mark in _PUNCTUATION:
        loose = f"{mark} " in text or f" {mark}" in text
        together = loose or _NUMBER_WITH_COMMA.search(text)
        stripped = stripped.replace(mark, "" if together else " ")
    # The official script hands a flag over as this count.
    return _PERIOD.sub("", stripped, count=int(re.UNICODE))
