"""Leaves out captions and texts that are too short, too long, foreign or repeated."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tfrecords_tools.bad_rows import BadRows, LeftOut
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import hash_key

# What a record says; the first that it has counts. Answers and labels are no texts.
TEXT_FEATURES = ("captions", "text", "question")
# Short texts fit many languages: only those that surely are another are left out.
_LIKELIER = 20


def filter_texts(
    records: Iterable[SourceRecord], options: BuildOptions, bad_rows: BadRows
) -> Iterator[SourceRecord]:
    """Leaves out texts by the options, and records that have none left.

    Of several captions each is looked at; the others stay.

    Args:
        records: The records, in the order of writing: of equal captions the first
            stays.
        options: `min_words`, `max_words`, `language` and `drop_duplicate_captions`.
        bad_rows: Takes the rows of the texts that are left out.

    Yields:
        The records that stay, with the captions that stay.
    """
    checks = _checks(options)
    for record in records:
        found = next((name for name in TEXT_FEATURES if name in record.values), None)
        if not checks or found is None:
            yield record
            continue
        texts = record.values[found]
        texts = [texts] if isinstance(texts, str) else texts
        kept = []
        for number, text in enumerate(texts):
            why = next((why for check in checks if (why := check(text))), None)
            if why is None:
                kept.append(text)
            else:
                same = len(record.places) == len(texts)
                bad_rows.leave_out(record.places[number if same else 0], why)
        if len(kept) == len(texts):
            yield record
        elif kept:
            yield dataclasses.replace(record, values=record.values | {found: kept})


def _checks(options: BuildOptions) -> list[Callable[[str], LeftOut | None]]:
    checks: list[Callable[[str], LeftOut | None]] = []
    if options.min_words is not None or options.max_words is not None:
        least, most = options.min_words or 0, options.max_words
        checks.append(functools.partial(_check_words, least=least, most=most))
    if options.language is not None:
        probabilities = language_probabilities()
        checks.append(
            functools.partial(
                _check_language, wanted=options.language, identify=probabilities
            )
        )
    if options.drop_duplicate_captions:
        # Last, so that a caption that is left out makes no other a duplicate.
        checks.append(functools.partial(_check_new, seen=set()))
    return checks


@functools.cache
def language_probabilities() -> Callable[[str], dict[str, float]]:
    """A function that tells the probability of each language (ISO 639-1) of a text.

    Raises:
        ValueError: If py3langid is not installed.

    References:
        - [Lui and Baldwin, 2012](https://aclanthology.org/P12-3005) (langid.py).
    """
    try:
        from py3langid import langid
    except ImportError as error:
        raise ValueError(
            "Languages are told by py3langid. Received: an environment without it. "
            "Install it by: pip install 'kmmft[language]'"
        ) from error
    identifier = langid.LanguageIdentifier.from_model_file(
        langid.MODEL_FILE, norm_probs=True
    )
    return lambda text: dict(identifier.rank(text))


def _check_words(text: str, least: int, most: int | None) -> LeftOut | None:
    count = len(text.split())
    if count < least:
        return LeftOut("min_words", f"It has {count} words, of at least {least}.")
    if most is not None and count > most:
        return LeftOut("max_words", f"It has {count} words, of {most} that may be.")
    return None


def _check_language(
    text: str, wanted: str, identify: Callable[[str], dict[str, Any]]
) -> LeftOut | None:
    found = identify(text)
    if wanted not in found:
        raise ValueError(
            "language must be a code of ISO 639-1 that py3langid knows. Received: "
            f"language={wanted!r}; it knows {', '.join(sorted(found))}."
        )
    likeliest = max(found, key=lambda name: (found[name], name))
    if found[likeliest] > _LIKELIER * found[wanted]:
        reason = (
            f"It is in another language ({likeliest}, by py3langid): {text[:80]!r}."
        )
        return LeftOut("language", reason)
    return None


def _check_new(text: str, seen: set[bytes]) -> LeftOut | None:
    # Half a hash is small, and enough for more captions than there are.
    key = hash_key(" ".join(text.casefold().split()))[:16]
    if key in seen:
        reason = f"Another row has the caption {text[:80]!r}."
        return LeftOut("drop_duplicate_captions", reason)
    seen.add(key)
    return None
