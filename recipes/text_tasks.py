"""Trains a text encoder for a task on texts: from a file to a served model.

`--task classify` (also intents and pairs of texts), `regress` (numbers), `relate` (the
relation of two entities that stand in `<e1>` and `<e2>`), `tag` (a class for each
word), `answer` (the place in a text that answers a question) or `write` (a text from a
text: translation, summary, reply). Any text encoder will do; for `write`, a BART or T5
brings its decoder, others get a small one from scratch.

Data: `--files FILE`, a CSV, TSV or JSONL file, but CoNLL files for tag and SQuAD's JSON
for answer; or `--data DIR`, records that `python -m tfrecords_tools build`
wrote. `--files templates` makes small texts up.

For tag, classify, regress and relate, an image may stand beside each text:
`--image_folder` of CoNLL files as those of Twitter-2015, `--image_column` of the other
files, or records with images. `--files shapes` draws some. For tag, the report says
what the images are worth. To classify where some images or texts are missing, take
`recipes.multimodal_classification`.

    python -m recipes.text_tasks --preset smoke --task tag
    python -m recipes.text_tasks --preset smoke_image
    python -m recipes.text_tasks --task tag --image_folder twitter2015_images \\
        --files "train=train.txt, validation=valid.txt, test=test.txt"
    python -m recipes.text_tasks --files reviews.csv --label_column stars
    python -m recipes.text_tasks --files nli.tsv --text_column premise \\
        --text_pair_column hypothesis
    python -m recipes.text_tasks --task regress --data data/tweets/1.0.0 \\
        --no_train_text_encoder --sequence_length 40 --epochs 2 --learning_rate 1e-2 \\
        --dropout_rate 0
    python -m recipes.text_tasks --preset smoke_write
    python -m recipes.text_tasks --task write --files news.jsonl \\
        --text_column article --target_column summary --text_encoder bart_base_en \\
        --sequence_length 512

On the tweets of `tfrecords_tools build sentiment`, the fourth trains for 5 minutes; of
413 test tweets its ratings are off by 0.71 on a scale from -4 to 4 (1.22 by the mean of
the training tweets), with a correlation of 0.79 (VADER's own rules: 0.87).
"""

import dataclasses

import kmmft

from .texts import answering, classifying, tagging, writing
from .texts.settings import Config

SMOKE = Config(
    files="templates",
    output_dir="runs/text_tasks_smoke",
    train_text_encoder=False,
    sequence_length=48,
    max_question_tokens=16,
    window_overlap=12,
    epochs=4,
    batch_size=16,
    learning_rate=1e-2,
    dropout_rate=0.0,
    max_bad_fraction=0.0,
)
PRESETS = {
    "default": Config(),
    "smoke": SMOKE,
    "smoke_image": dataclasses.replace(
        SMOKE,
        task="tag",
        files="shapes",
        output_dir="runs/text_tasks_smoke_image",
        train_image_encoder=False,
        image_size=64,
        sequence_length=28,
        num_layers=1,
        epochs=8,
        learning_rate=1e-3,
    ),
    "smoke_write": dataclasses.replace(
        SMOKE,
        task="write",
        output_dir="runs/text_tasks_smoke_write",
        text_encoder="scratch",
        train_text_encoder=True,
        sequence_length=24,
        target_length=24,
        vocabulary_size=500,
        hidden_dim=64,
        num_layers=1,
        num_beams=2,
        epochs=14,
        patience=14,
        learning_rate=4e-3,
    ),
}
PARTS = {
    "classify": classifying,
    "relate": classifying,
    "regress": classifying,
    "tag": tagging,
    "answer": answering,
    "write": writing,
}


def main(config: Config) -> dict[str, float]:
    """Trains, tests, reports and exports; returns what metrics.json holds."""
    part = PARTS[config.task]
    return kmmft.evaluation.show_run(config, part.run_once, part.result_table)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
