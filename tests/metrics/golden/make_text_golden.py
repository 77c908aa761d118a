"""Makes `texts.json` beside this file with the metrics' peers, in their own venv.

Captions are drawings' titles of Open Clip Art (public domain), and sentences written
for their punctuation; predictions are made of them by dropping and swapping words.
Java runs COCO's own tokenizer and METEOR 1.5.

pip install pycocoevalcap==1.2 sacrebleu==2.6.0 rouge-score==0.1.2
pip download --no-deps salesforce-lavis==1.0.2 && unzip salesforce_lavis*.whl
python tests/metrics/golden/make_text_golden.py TITLES.txt lavis/common/vqa_tools
"""

import json
import pathlib
import random
import sys

import sacrebleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from rouge_score.rouge_scorer import RougeScorer

HERE = pathlib.Path(__file__).parent
SENTENCES = """
A man riding a wave on top of a surfboard.
A man surfs, standing on a white board.
A red circle, left of two blue squares!
The dog's ball isn't here; it's John's.
"Welcome" says the sign (in French).
A well-known street-sign: 5:30 p.m., $3.50 & 20% off...
Two men can't wait -- they're running
It's 1,000 people / day and/or night
A cat. A dog. Two birds.
Mr. Smith's U.S. flag
What's up? 'quoted' text
Café in Zürich, naïve?
We cannot say; they gonna stay
A T-shirt with #1 on it
[brackets] and {braces}
1/2 of an apple
A woman--smiling--at us
a dog , a cat .
The girls' room is big. Dr. No lives there.
""".strip().splitlines()
ANSWERS = """
yes|Yes.|no!|2|two|Two dogs|the dog|a|none|1,000|1,000 dogs, cats|3.5|St. John's
red/blue|red / blue|left-right|left - right|don't know|dont know|it's|its|what?|[no]
black and white|black & white|t-shirt|5:30|  spaces  |tab\there|an apple, a pear
somebody'd|let's|she's|Im|cant|"quoted"|a.b.c.|...|10 o'clock|10 oclock|A+B=C|_x_
""".replace("\n", "|").split("|")


def changed(words, chance):
    words = [word for word in words if chance.random() > 0.2]
    if len(words) > 1 and chance.random() < 0.3:
        place = chance.randrange(len(words) - 1)
        words[place], words[place + 1] = words[place + 1], words[place]
    return words


def captions(titles):
    chance = random.Random(0)
    references, predictions = [], []
    for number in range(60):
        texts = chance.sample(titles if number % 2 else SENTENCES, 1 + number % 3)
        references.append(texts)
        words = " ".join(chance.choice(texts).split()[:12]).split()
        predictions.append(" ".join(changed(words, chance)))
    predictions[5], predictions[7] = "", "the the the the the"
    return predictions, references


def caption_golden(titles):
    predictions, references = captions(titles)
    tokenizer = PTBTokenizer()
    ptb = tokenizer.tokenize(
        {i: [{"caption": text}] for i, text in enumerate(SENTENCES + titles)}
    )
    # The peers are handed one and the same tokens, split at spaces.
    gts = {i: [t.lower() for t in texts] for i, texts in enumerate(references)}
    res = {i: [text.lower()] for i, text in enumerate(predictions)}
    cider, ciders = Cider().compute_score(gts, res)
    bleus, _ = Bleu(4).compute_score(gts, res, verbose=0)
    most = max(map(len, gts.values()))
    streams = [
        [t[i] if i < len(t) else None for t in gts.values()] for i in range(most)
    ]
    hypotheses = [text for (text,) in res.values()]
    rouge = RougeScorer(["rougeL"])
    rouges = [
        rouge.score_multi(texts, prediction)["rougeL"].fmeasure
        for prediction, texts in zip(predictions, references, strict=True)
    ]
    return {
        "sentences": SENTENCES + titles,
        "ptb_tokens": [ptb[i][0].split() for i in range(len(SENTENCES + titles))],
        "predictions": predictions,
        "references": references,
        "cider_d": cider,
        "cider_d_of_each": ciders.tolist(),
        "coco_bleu": bleus,
        "sacrebleu": sacrebleu.corpus_bleu(
            hypotheses, streams, tokenize="none", smooth_method="none", force=True
        ).score,
        "rouge_l_own_tokens": sum(rouges) / len(rouges),
    }


def vqa_golden(folder):
    sys.path.insert(0, folder)
    from vqa_eval import VQAEval

    class Data:
        def __init__(self, qa):
            self.qa = qa

        def getQuesIds(self):
            return list(self.qa)

    answers = [*ANSWERS, *VQAEval().contractions, "we dont, they arent"]
    chance = random.Random(1)
    predictions = [chance.choice(answers) for _ in range(120)]
    people = [
        [p] * 10
        if i % 7 == 0
        else chance.choices([p, *chance.sample(answers, 2)], k=10)
        for i, p in enumerate(predictions)
    ]
    gts = {
        i: {
            "question_type": "",
            "answer_type": "",
            "answers": [{"answer": a, "answer_id": n} for n, a in enumerate(texts)],
        }
        for i, texts in enumerate(people)
    }
    res = {i: {"answer": p} for i, p in enumerate(predictions)}
    evaluation = VQAEval(Data(gts), Data(res), n=6)
    evaluation.evaluate()
    fresh = VQAEval()

    def normal(text):
        text = text.replace("\n", " ").replace("\t", " ").strip()
        return fresh.processDigitArticle(fresh.processPunctuation(text))

    return {
        "answers": answers,
        "normalized": [normal(answer) for answer in answers],
        "predictions": predictions,
        "people": people,
        "accuracy_of_each": [evaluation.evalQA[i] / 100 for i in range(len(people))],
        "accuracy": evaluation.accuracy["overall"] / 100,
    }


def main() -> None:
    titles = pathlib.Path(sys.argv[1]).read_text().splitlines()
    golden = {"captions": caption_golden(titles), "vqa": vqa_golden(sys.argv[2])}
    text = json.dumps(golden, indent=1, ensure_ascii=False)
    (HERE / "texts.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
