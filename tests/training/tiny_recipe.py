"""A recipe of a few seconds that is killed, and started again, in one process.

python -m tests.training.tiny_recipe --data DIR --output_dir DIR --strategy ...
"""

import contextlib
import functools
import pathlib
import shutil

import keras
import keras_hub
import numpy as np

import kmmft
from tests.data.conftest import write_records
from tests.evaluation.towers import COLOURS, WORDS, captioned

STEPS, EPOCHS, BATCH = 2, 3, 8
# The last batch is of 4 records for one worker and 1 for the other.
VALIDATION = BATCH + 5
CONFIG = kmmft.training.RecipeConfig(strategy="one_device", batch_size=BATCH)


class Killed(Exception):
    pass


@contextlib.contextmanager
def killed_at(step, saved):
    """A kill at the end of an epoch, before or after this worker's checkpoint."""
    save = kmmft.training.Checkpointer.save

    def killed(checkpointer):
        if checkpointer.step == step and not saved:
            raise Killed
        save(checkpointer)
        if checkpointer.step == step:
            raise Killed

    kmmft.training.Checkpointer.save = killed
    try:
        yield
    except Killed:
        pass
    finally:
        kmmft.training.Checkpointer.save = save


def write_data(folder):
    colours = [*COLOURS]
    records = [
        captioned(f"r{i}", colours[i % 4], f"{WORDS[i % 7]} {WORDS[i % 8]} dot")
        for i in range(STEPS * BATCH + 3 + VALIDATION)
    ]
    splits = {"train": records[:-VALIDATION], "validation": records[-VALIDATION:]}
    return write_records(folder, kmmft.data.schema.image_text(), splits)


def make_model():
    keras.utils.set_random_seed(3)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    backbone = keras_hub.models.ViTBackbone((16, 16, 3), 8, 1, 2, 8, 16)
    # Without dropout, which draws other masks on each replica.
    text_backbone = keras_hub.models.BertBackbone(len(words), 1, 2, 8, 16, dropout=0)
    tokenizer = keras_hub.models.BertTokenizer(words, lowercase=True)
    model = kmmft.models.DualEncoder(
        {
            "image": kmmft.encoders.ImageEncoder(backbone),
            "text": kmmft.encoders.TextEncoder(
                text_backbone, tokenizer, sequence_length=6
            ),
        },
        projection_dim=6,
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), kmmft.losses.InfoNCE())
    return model


def build_data(config, model, split, start_step=0, input_context=None, **options):
    def decode(record):
        record = model.decode_record(record)
        return {
            "id": record["id"],
            "image": record["image"],
            "text": record["captions"][0],
        }

    dataset = kmmft.data.build_dataset(
        config.data,
        split=split,
        preprocess=decode,
        batch_preprocess=model.prepare_batch,
        batch_size=config.batch_size,
        start_step=start_step,
        input_context=input_context,
        **options,
    )
    if input_context is not None:
        # What this worker reads of a batch of all workers.
        rows = dataset.element_spec[0]["image"].shape[0]
        pathlib.Path(config.output_dir, "rows").write_text(str(rows))
    return dataset


def train(config):
    with kmmft.training.make_strategy(config.strategy).scope():
        model = make_model()
    with kmmft.training.RunDirectory(config.output_dir, config) as run:
        kmmft.training.resumable_fit(
            model,
            functools.partial(build_data, config, model, "train", training=True),
            run=run,
            steps_per_epoch=STEPS,
            epochs=EPOCHS,
            validation_data=build_data(config, model, "validation", training=False),
            callbacks=[
                kmmft.evaluation.RetrievalEvaluator(
                    config.data, "validation", ks=(1, 2)
                )
            ],
            monitor="val_mean_recall",
            patience=EPOCHS,
            # Were it heeded, two workers would save at different steps.
            checkpoint_every_seconds=0.0,
            verbose=0,
        )
        return model, run.history()


def weights(model):
    return [v.numpy() for v in model.trainable_variables]


def main(config):
    other = pathlib.Path(config.output_dir).parent.name == "workers"
    with killed_at(2 * STEPS, saved=not other):
        train(config)
    model, _ = train(config)
    np.savez(pathlib.Path(config.output_dir, "weights.npz"), *weights(model))
    checkpoints = pathlib.Path(config.output_dir, "checkpoints")
    if other:
        shutil.rmtree(checkpoints)
    step = kmmft.training.Checkpointer(checkpoints, model).restore()
    pathlib.Path(config.output_dir, "step_after_loss").write_text(str(step))


if __name__ == "__main__":
    kmmft.training.run_recipe(main, kmmft.training.RecipeConfig, {"only": CONFIG})
