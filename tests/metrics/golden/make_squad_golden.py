"""Writes squad.json, by the SQuAD metrics of transformers 4.46.3:

pip download --no-deps transformers==4.46.3
unzip transformers-4.46.3-*.whl transformers/data/metrics/squad_metrics.py
python make_squad_golden.py transformers/data/metrics/squad_metrics.py > squad.json
"""

import json
import pathlib
import random
import sys
import types

text = pathlib.Path(sys.argv[1]).read_text()
# Without the parts that need the rest of the package.
text = text[: text.index("def get_final_text")]
text = text.replace("from ...models.bert import BasicTokenizer", "")
text = text.replace("from ...utils import logging", "import logging")
text = text.replace("logging.get_logger", "logging.getLogger")
metrics = types.ModuleType("squad_metrics")
exec(text, metrics.__dict__)

WORDS = ["The", "the", "a", "red", "Red,", "cat", "cat.", "dogs'", "U.S.", "na\u00efve"]
WORDS += ["\u00abtwo\u00bb", "\u2013", "3.5", "an"]
random.seed(1)


def answer():
    return " ".join(random.choice(WORDS) for _ in range(random.randint(1, 4)))


references = [
    [answer() for _ in range(random.randint(1, 3))] if random.random() < 0.7 else []
    for _ in range(80)
]
predictions = [
    random.choice(r) if r and random.random() < 0.5 else answer() for r in references
]
predictions = ["" if random.random() < 0.1 else text for text in predictions]
probabilities = [round(random.random(), 2) for _ in references]
examples = [
    types.SimpleNamespace(qas_id=n, answers=[{"text": text} for text in texts])
    for n, texts in enumerate(references)
]
by_id = dict(enumerate(predictions))
exact, f1 = metrics.get_raw_scores(examples, by_id)
threshold = 0.6
evaluation = metrics.squad_evaluate(
    examples, by_id, dict(enumerate(probabilities)), threshold
)
golden = {
    "predictions": predictions,
    "references": references,
    "probabilities": probabilities,
    "exact_of_each": list(exact.values()),
    "f1_of_each": list(f1.values()),
    "all_answered": metrics.squad_evaluate(examples, by_id),
    "threshold": threshold,
    "with_threshold": evaluation,
}
print(json.dumps(golden))
