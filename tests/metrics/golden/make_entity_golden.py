"""Writes entities.json. In an environment with seqeval 1.2.2:

python make_entity_golden.py > entities.json
"""

import json
import random

from seqeval.metrics import (
    classification_report,
    f1_score,
    precision_score,
    recall_score,
)

TAGS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "I-LOC", "B-LOC", "E-PER", "S-LOC"]
random.seed(0)
true, pred = [], []
for _ in range(40):
    right = [random.choice(TAGS) for _ in range(random.randint(1, 9))]
    true.append(right)
    pred.append([x if random.random() < 0.7 else random.choice(TAGS) for x in right])
report = classification_report(true, pred, output_dict=True, zero_division=0)
golden = {
    "true": true,
    "pred": pred,
    "f1": f1_score(true, pred),
    "precision": precision_score(true, pred),
    "recall": recall_score(true, pred),
    "by_type": {
        kind: {"f1": float(row["f1-score"]), "support": int(row["support"])}
        for kind, row in report.items()
        if kind in ("PER", "ORG", "LOC")
    },
}
print(json.dumps(golden))
