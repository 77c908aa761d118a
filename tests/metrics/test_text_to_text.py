"""Equal to sacrebleu and rouge-score, called as their authors do."""

import pytest
import sacrebleu
from rouge_score import rouge_scorer

from kmmft.metrics import text_to_text_metrics

PREDICTIONS = ["Die Katze liegt auf der Matte.", "Ein Hund bellt", "Datei öffnen…"]
REFERENCES = [
    ["Die Katze liegt auf einer Matte.", "Auf der Matte liegt eine Katze."],
    ["Ein Hund hat gebellt."],
    ["Datei öffnen…"],
]


def test_numbers_of_the_libraries():
    scores = text_to_text_metrics(PREDICTIONS, REFERENCES)
    streams = [[r[0] for r in REFERENCES], [r[-1] for r in REFERENCES]]
    streams[1][1:] = [None, None]
    bleu = sacrebleu.corpus_bleu(PREDICTIONS, streams).score
    assert scores["bleu"] == pytest.approx(bleu / 100, abs=1e-9)
    chrf = sacrebleu.corpus_chrf(PREDICTIONS, streams).score
    assert scores["chrf"] == pytest.approx(chrf / 100, abs=1e-9)
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    for name, key in {
        "rouge_1": "rouge1",
        "rouge_2": "rouge2",
        "rouge_l": "rougeL",
    }.items():
        best = [
            max(scorer.score(one, text)[key].fmeasure for one in texts)
            for text, texts in zip(PREDICTIONS, REFERENCES, strict=True)
        ]
        assert scores[name] == pytest.approx(sum(best) / 3, abs=1e-9)
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert all(0 < value < 1 for value in scores.values())


def test_a_single_reference_is_sacrebleus_usual_case():
    single = [texts[:1] for texts in REFERENCES]
    scores = text_to_text_metrics(PREDICTIONS, single)
    streams = [[texts[0] for texts in single]]
    bleu = sacrebleu.corpus_bleu(PREDICTIONS, streams).score
    assert scores["bleu"] == pytest.approx(bleu / 100, abs=1e-9)
    chrf = sacrebleu.corpus_chrf(PREDICTIONS, streams).score
    assert scores["chrf"] == pytest.approx(chrf / 100, abs=1e-9)


def test_languages_without_spaces():
    same = text_to_text_metrics(["我喜欢猫"], [["我喜欢狗"]], bleu_tokenizer="zh")
    words = text_to_text_metrics(["我喜欢猫"], [["我喜欢狗"]])
    assert same["bleu"] > words["bleu"]


def test_bad_texts():
    with pytest.raises(ValueError, match="a list of texts for each example"):
        text_to_text_metrics(["a"], ["a"])
