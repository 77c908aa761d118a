import pathlib
import sys

import pytest

from tfrecords_tools import BuildOptions, text_filters
from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.text_filters import filter_texts


def kept(values, **options):
    """The texts that stay, and the names of the filters that took the others."""
    records = [
        SourceRecord("train", {"id": str(n)} | one, None, (Place("rows", n),))
        for n, one in enumerate(values)
    ]
    bad_rows = BadRows(skip_bad=False)
    found = list(filter_texts(records, BuildOptions(**options), bad_rows))
    names = [(place.line, why.filter) for place, why in bad_rows.left_out]
    return [dict(one.values) for one in found], names


def captions(*texts):
    return {"captions": list(texts)}


def test_words():
    values = [captions("one"), captions("one two", "one"), captions("a b c d")]
    found, names = kept(values, min_words=2, max_words=3)
    assert found == [{"id": "1", "captions": ["one two"]}]
    assert names == [(0, "min_words"), (1, "min_words"), (2, "max_words")]
    found, names = kept(
        [{"text": "one two", "label": "x"}, {"text": "one"}], min_words=2
    )
    assert found == [{"id": "0", "text": "one two", "label": "x"}]
    found, names = kept([{"question": "why", "answer": "a b c"}], max_words=2)
    assert len(found) == 1 and not names


def test_repeated_captions():
    values = [captions("A  cat", "a dog"), captions("a CAT"), captions("a dog", "new")]
    found, names = kept(values, drop_duplicate_captions=True)
    assert [one["captions"] for one in found] == [["A  cat", "a dog"], ["new"]]
    assert names == [(1, "drop_duplicate_captions"), (2, "drop_duplicate_captions")]
    # What is left out for another reason makes no other text a duplicate.
    found, _ = kept(
        [captions("a b c"), captions("a b")], drop_duplicate_captions=True, max_words=2
    )
    assert [one["captions"] for one in found] == [["a b"]]


def test_rows_of_captions_are_named():
    places = (Place("rows", 3), Place("rows", 9))
    record = SourceRecord(
        "train", {"id": "a"} | captions("one two", "one"), pathlib.Path("a"), places
    )
    bad_rows = BadRows(skip_bad=False)
    assert len(list(filter_texts([record], BuildOptions(min_words=2), bad_rows))) == 1
    assert [place.line for place, _ in bad_rows.left_out] == [9]
    assert bad_rows.counts() == {"min_words": 1}
    assert bad_rows.to_jsonl() == (
        '{"file": "rows", "line": 9, "reason": "It has 1 words, of at least 2.", '
        '"filter": "min_words"}\n'
    )


def test_languages():
    pytest.importorskip("py3langid")
    texts = {
        "two dogs run on the beach": True,
        "a dog": True,
        "Frisbee": True,
        "Buddha": True,
        "Ein Hund läuft am Strand": False,
        "un chien noir court sur la plage": False,
        "東京タワー": False,
    }
    found, names = kept([captions(text) for text in texts], language="en")
    assert [one["captions"][0] for one in found] == [
        t for t, same in texts.items() if same
    ]
    assert {name for _, name in names} == {"language"}
    with pytest.raises(ValueError, match=r"language='english'; it knows .*en, "):
        kept([captions("a")], language="english")


def test_without_the_library(monkeypatch):
    text_filters.language_probabilities.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(ValueError, match=r"pip install 'kmmft\[language\]'"):
        text_filters.language_probabilities()
