"""Draws pictures of texts: an image tokenizer, then a transformer over its codes.

Data: records of `kmmft.data.schema.image_text`; `easy_vqa` builds those of the pip
package easy-vqa, whose captions are made from its questions ("a blue circle").

    python -m recipes.visual_question_answering --preset quickstart
    python -m recipes.text_to_image --preset easy_vqa --judge runs/quickstart/export/1

The first command trains a judge that looks at the drawn pictures: it has never seen
this model, and is asked for shape and colour. `--scorer` measures how well pictures fit
texts, by a model of the recipe contrastive. Both stages go on after a kill.
"""

import numpy as np

import kmmft
from kmmft.evaluation import Example, Table

from .drawing.data import open_data
from .drawing.settings import PRESETS, Config
from .drawing.testing import (
    distance,
    draw,
    fit,
    judged,
    open_dual_encoder,
    open_judge,
    recognised,
)
from .drawing.training import train


def main(config: Config) -> dict[str, float]:
    """Trains both stages, draws, judges, reports and exports."""
    return kmmft.evaluation.show_run(config, run_once, result_table)


def run_once(config: Config, run: kmmft.training.RunDirectory) -> dict[str, float]:
    # What cannot be loaded is told before hours of training, not after.
    judge = open_judge(config.judge)
    ranker, scorer = map(open_dual_encoder, (config.ranker, config.scorer))
    source = open_data(config)
    with kmmft.data.clear_data_errors(source):
        model, metrics = train(config, source, run)
        texts, pictures, real = draw(config, source, model, ranker)
    answers = judged(judge, pictures) if judge else {}
    if answers:
        metrics |= recognised(texts, answers)
    metrics |= distance(config, pictures, real["image"])
    if scorer is not None:
        metrics |= fit(scorer, texts, pictures, real)
    metrics["peak_memory_mb"] = kmmft.evaluation.peak_memory_mb()
    run.write_model(model)
    if not (run.export / "1").exists():
        raw = {"text": texts[:2], "seed": np.arange(len(texts[:2]), dtype="int32")}
        card = kmmft.export.ModelCard.from_run(
            run, "Pictures of texts", source, metrics
        )
        kmmft.export.export_bundle(model, run.export, raw, card=card, version=1)
    report(run, metrics, texts, pictures, answers)
    run.write_metrics(metrics)
    return metrics


def report(run, metrics, texts, pictures, answers) -> None:
    found = [None] * len(texts)
    if answers:
        pairs = zip(answers["color"], answers["shape"], strict=True)
        found = [f"a {color} {shape}" for color, shape in pairs]
    history = run.history()
    kmmft.evaluation.write_report(
        run.report,
        title="Pictures of texts",
        metrics=metrics,
        history={name: [row[name] for row in history] for name in ("loss", "val_loss")},
        examples=[
            Example(picture, text, text, answer)
            for picture, text, answer in zip(pictures, texts, found, strict=True)
        ],
        confusion=None,
        config=run.config,
        tables=[result_table(metrics)],
        notes=__doc__.split("\n", 1)[0],
    )


def result_table(metrics: dict[str, float]) -> Table:
    """What was measured of the drawn pictures."""
    names = {
        "test/recognised/shape_and_color": "shape and colour recognised",
        "test/recognised/shape": "shape recognised",
        "test/recognised/color": "colour recognised",
        "test/frechet_distance": "Fréchet distance to real pictures",
        "test/clip_score/drawn": "CLIPScore of drawn pictures",
        "test/clip_score/others_texts": "the same beside another picture's text",
        "test/clip_score/real": "CLIPScore of real pictures",
        "test/loss": "cross-entropy of a code, test pictures",
        "tokenizer/l1": "error of redrawn pictures (0 to 2)",
        "tokenizer/code_usage": "codes used in a batch",
    }
    rows = [[label, f"{metrics[k]:.4g}"] for k, label in names.items() if k in metrics]
    return Table("Drawn pictures", ["measured", "value"], rows)


if __name__ == "__main__":
    kmmft.training.run_recipe(main, Config, PRESETS, __doc__)
