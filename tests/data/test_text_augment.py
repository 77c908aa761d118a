"""What happens to a text, how often, and that it depends on the seed alone."""

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import BackTranslations, Synonyms, TextAugmentation

TEXT = "A big, red cat sits on the mat."
WORDS = TEXT.split()


def many(augmentation, text=TEXT, count=1000, **extra):
    """Results for many seeds, in one graph."""
    numbers = tf.range(count)
    seeds = tf.stack([tf.zeros_like(numbers), numbers], axis=1)

    @tf.function
    def run(seeds):
        def one(seed):
            return augmentation(tf.constant(text), seed, **extra)

        return tf.map_fn(one, seeds, fn_output_signature=tf.string)

    return [result.decode() for result in run(seeds).numpy()]


def near(fraction, probability, count=1000):
    return abs(fraction - probability) < 5 * np.sqrt(
        probability * (1 - probability) / count
    )


@pytest.fixture(scope="module")
def synonyms(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "synonyms.tsv"
    path.write_text(
        "big\tlarge\thuge\n\nMat\tdoor mat\nélan\tzeal\nbig\tgreat\n", "utf-8"
    )
    return Synonyms(path)


def test_synonyms_keep_case_and_punctuation(synonyms):
    words = tf.constant(["Big,", "(MAT)", "cat", "--", "Élan!", "big", "big", "42big"])
    draws = tf.constant([0.0, 0.0, 0.9, 0.9, 0.9, 0.5, 0.99, 0.0])
    expected = ["Large,", "(Door mat)", "cat", "--", "Zeal!", "huge", "great", "42big"]
    for call in (synonyms, tf.function(synonyms)):
        assert [word.decode() for word in call(words, draws).numpy()] == expected


def test_synonym_rate(synonyms):
    texts = many(TextAugmentation(synonyms=synonyms, synonym_rate=0.3))
    assert near(np.mean(["big," not in text for text in texts]), 0.3)
    assert near(np.mean(["door mat." in text for text in texts]), 0.3)
    for word in ("large", "huge", "great"):
        assert near(np.mean([f"{word}," in text for text in texts]), 0.1)
    both = np.mean([("big," not in t) & ("door" in t) for t in texts])
    assert near(both, 0.09)


def test_word_dropout():
    texts = [text.split() for text in many(TextAugmentation(word_dropout_rate=0.2))]
    assert near(np.mean([word in text for text in texts for word in WORDS]), 0.8, 16000)
    order = {word: number for number, word in enumerate(WORDS)}
    for text in texts:
        places = [order[word] for word in text]
        assert places and places == sorted(places)
    left = many(TextAugmentation(word_dropout_rate=1.0), count=400)
    assert set(left) == set(WORDS)


def test_span_dropout():
    texts = many(TextAugmentation(span_dropout_rate=0.5, span_dropout_length=0.4))
    lengths = []
    for text in texts:
        kept = text.split()
        removed = len(WORDS) - len(kept)
        lengths.append(removed)
        starts = range(len(WORDS) - removed + 1)
        assert any(WORDS[:i] + WORDS[i + removed :] == kept for i in starts)
    assert near(np.mean(np.array(lengths) == 0), 0.5)
    # 0.4 of 8 words is 3.
    assert set(lengths) == {0, 1, 2, 3}
    everything = TextAugmentation(span_dropout_rate=1.0, span_dropout_length=1.0)
    assert {len(text.split()) for text in many(everything, "a b c", 200)} == {1, 2}
    for text in ("word", "", "  "):
        assert set(many(everything, text, 20)) == {text}


def test_caption_dropout():
    augmentation = TextAugmentation(caption_dropout_rate=0.1, empty_text="nothing")
    texts = many(augmentation)
    assert set(texts) == {TEXT, "nothing"}
    assert near(np.mean([text == "nothing" for text in texts]), 0.1)


def test_back_translations(tmp_path):
    path = tmp_path / "texts.tsv"
    path.write_text("7\tone\n8\tother\n7\ttwo\n", "utf-8")
    augmentation = TextAugmentation(back_translations=BackTranslations(path))
    texts = many(augmentation, record_id=tf.constant("7"))
    for text, probability in ((TEXT, 0.5), ("one", 0.25), ("two", 0.25)):
        assert near(texts.count(text) / len(texts), probability)
    assert set(many(augmentation, count=50, record_id=tf.constant("9"))) == {TEXT}
    with pytest.raises(ValueError, match="by the id of a record"):
        augmentation(TEXT, (0, 1))


def test_everything_depends_on_the_seed_alone(synonyms):
    augmentation = TextAugmentation(
        synonyms=synonyms,
        word_dropout_rate=0.2,
        span_dropout_rate=0.5,
        caption_dropout_rate=0.1,
    )
    first = many(augmentation, count=100)
    tf.random.set_seed(3)
    assert first == many(augmentation, count=100)
    assert len(set(first)) > 30
    one = augmentation(TEXT, (0, 17)).numpy().decode()
    assert one == first[17]


def test_nothing_leaves_the_text():
    text = "Two  spaces\tand no change. "
    assert TextAugmentation()(text, (0, 1)).numpy().decode() == text


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        (Synonyms, b"big\n", "line 1"),
        (Synonyms, b"a\tb\nvery big\tlarge\n", "line 2"),
        (Synonyms, b"", "must have a line"),
        (BackTranslations, b"7\tone\ttwo\n", "3 columns in line 1"),
        (BackTranslations, b"7\t\xff\n", "must be UTF-8"),
    ],
)
def test_bad_files(tmp_path, table, content, message):
    path = tmp_path / "table.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        table(path)


def test_rates_are_checked():
    with pytest.raises(ValueError, match="`word_dropout_rate` must be between"):
        TextAugmentation(word_dropout_rate=1.5)
