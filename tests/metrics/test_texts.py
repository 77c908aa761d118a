"""Metrics of texts against their peers' numbers, which `golden` holds."""

import builtins
import json
import math
import pathlib

import numpy as np
import pytest
from rouge_score import tokenizers

import kmmft
from kmmft.metrics import (
    CiderD,
    bleu,
    caption_metrics,
    caption_tokens,
    cider_d,
    meteor,
    normalize_answer,
    rouge_l,
    vqa_accuracy,
    vqa_accuracy_of_each,
)

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/texts.json").read_text())
CAPTIONS, VQA = GOLDEN["captions"], GOLDEN["vqa"]
TEXTS = CAPTIONS["predictions"], CAPTIONS["references"]


def lower_words(text):
    return text.lower().split()


def test_tokens_are_those_of_the_java_tokenizer():
    pairs = zip(CAPTIONS["sentences"], CAPTIONS["ptb_tokens"], strict=True)
    unlike = [text for text, tokens in pairs if caption_tokens(text) != tokens]
    assert unlike == []


def test_cider_d_equals_pycocoevalcap():
    predictions, references = TEXTS
    each = CiderD(references, lower_words).scores(predictions, references)
    np.testing.assert_allclose(each, CAPTIONS["cider_d_of_each"], atol=1e-9)
    assert cider_d(*TEXTS, lower_words) == pytest.approx(CAPTIONS["cider_d"], abs=1e-9)
    assert each[5] == 0 and each.max() > 5


def test_bleu_equals_sacrebleu_and_pycocoevalcap():
    assert bleu(*TEXTS, tokenize=lower_words) == pytest.approx(
        CAPTIONS["sacrebleu"] / 100, abs=1e-12
    )
    for order, expected in enumerate(CAPTIONS["coco_bleu"], 1):
        assert bleu(*TEXTS, order, lower_words) == pytest.approx(expected, abs=1e-6)


def test_rouge_l_equals_rouge_score():
    own = tokenizers.DefaultTokenizer().tokenize
    expected = CAPTIONS["rouge_l_own_tokens"]
    assert rouge_l(*TEXTS, own) == pytest.approx(expected, abs=1e-12)


def test_meteor_by_hand():
    # Two of two and three words match, "dogs" by its stem, in one piece.
    precision, recall = 2 / 2, 2 / 3
    mean = precision * recall / (0.9 * precision + 0.1 * recall)
    one = mean * (1 - 0.5 * (1 / 2) ** 3)
    # Three of three words in three pieces.
    other = 1 - 0.5 * (3 / 3) ** 3
    assert meteor(["dogs run"], [["cats", "a dog run"]]) == pytest.approx(one)
    assert meteor(["dogs run", "c b a"], [["a dog run"], ["a b c"]]) == pytest.approx(
        (one + other) / 2
    )


def test_meteor_matches_synonyms_where_there_is_a_wordnet():
    class Lemma:
        def name(self):
            return "auto"

    class Synset:
        def lemmas(self):
            return [Lemma()]

    class WordNet:
        def synsets(self, word):
            return [Synset()] if word == "car" else []

    texts = ["a red car"], [["a red auto"]]
    assert meteor(*texts, wordnet=WordNet()) > meteor(*texts) + 0.2


def test_cider_d_by_hand():
    # One-word captions: only the first of four vectors, weights log(2 / 1) alike.
    assert cider_d(["cat", "dog"], [["cat"], ["dog"]], str.split) == pytest.approx(2.5)
    # The first reference is longer by one pair, and its one-word cosine is 1/sqrt(2).
    scores = CiderD([["cat sat"], ["dog"]], str.split).scores(["cat"], [["cat sat"]])
    expected = 10 / 4 / math.sqrt(2) * math.exp(-1 / 72)
    assert scores == pytest.approx([expected])


def test_repeating_a_right_word_gains_nothing():
    references = [["a cat"], ["a dog"], ["a bird"]]
    cider = CiderD(references, sigma=1e6)
    once, often = cider.scores(["cat", "cat cat cat"], [["cat"], ["cat"]])
    assert often <= once


def test_all_metrics_of_perfect_captions():
    references = [["a red cat on a mat", "a cat"], ["two blue dogs in a box"]]
    metrics = caption_metrics([texts[0] for texts in references], references)
    assert metrics["bleu_4"] == metrics["rouge_l"] == 1.0
    assert metrics["meteor"] > 0.99 and 5 < metrics["cider_d"] < 10


def test_answers_are_normalised_as_by_the_official_script():
    answers = [normalize_answer(answer) for answer in VQA["answers"]]
    assert answers == VQA["normalized"]


def test_vqa_accuracy_equals_the_official_script():
    each = vqa_accuracy_of_each(VQA["predictions"], VQA["people"])
    np.testing.assert_allclose(each, VQA["accuracy_of_each"], atol=1e-8)
    accuracy = vqa_accuracy(VQA["predictions"], VQA["people"])
    assert accuracy == pytest.approx(VQA["accuracy"], abs=1e-8)
    assert set(each.round(3)) == {0.0, 0.3, 0.6, 0.9, 1.0}


METRICS = [bleu, rouge_l, meteor, cider_d, vqa_accuracy, caption_metrics]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_bad_texts(metric):
    with pytest.raises(ValueError, match="2 predictions and 1 lists"):
        metric(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="none for 1 examples, the first is row 1"):
        metric(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="a list of its own"):
        metric(["a", "b"], ["a", "b"])
    with pytest.raises(ValueError, match=r"must be strings\. Received: bytes b'a'"):
        metric([b"a", "b"], [["a"], ["b"]])
    with pytest.raises(ValueError, match=r"list of strings\. Received: str 'ab'"):
        metric("ab", [["a"], ["b"]])
    for none in (None, [None, ["b"]]):
        with pytest.raises(ValueError, match="Received: NoneType None where a list"):
            metric(["a", "b"], none)


def test_vqa_accuracy_warns_of_answers_of_few_people(caplog):
    people = [["red"] * 4, ["red"] * 3]
    assert vqa_accuracy_of_each(["red", "red"], people).round(2).tolist() == [1, 0.67]
    assert "1 of 2 examples have answers of fewer than 4 people" in caplog.text


def test_too_few_examples():
    with pytest.raises(ValueError, match=r"at least two\. Received: 1"):
        cider_d(["a"], [["a"]])
    with pytest.raises(ValueError, match="There must be an example"):
        bleu([], [])
    with pytest.raises(ValueError, match="`max_order` must be positive"):
        bleu(["a"], [["a"]], max_order=0)


def test_missing_packages_are_named(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("sacrebleu"):
            raise ImportError("No module named 'sacrebleu'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(ImportError, match=r"pip install kmmft\[text_metrics\]"):
        kmmft.metrics.bleu(["a"], [["a"]])
