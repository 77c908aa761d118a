"""Kills a training run at random moments, and compares it with one that was not.

    python -m tests.benchmarks.kill_soak --kills 50

A run in a process of its own is killed (SIGKILL), started again, killed, and so on. It
takes a checkpoint at each step, and its number of parallel calls and of batches held
ready changes with every start. In the end its weights must be those of the run that
was never killed, bit by bit, and each step must have seen the same records.

Measured: 50 kills in 158 s, 234 steps run for 200, all the same.
"""

import argparse
import json
import multiprocessing
import pathlib
import random
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import kmmft
from tests.data.conftest import image_text_records, write_records

STEPS, EPOCHS, BATCH = 50, 4, 8
# A fork needs not import all again. It is safe as long as nothing was computed before.
_PROCESSES = multiprocessing.get_context("fork")


def train(data: str, output_dir: str, parallel: int, prefetch: int) -> None:
    pathlib.Path(output_dir).mkdir(exist_ok=True)
    seen = pathlib.Path(output_dir, "seen.jsonl")

    def batch_preprocess(batch):
        return batch["image"], batch["number"]

    def preprocess(record):
        image = kmmft.data.decode_image(record["image"], 8)
        number = tf.strings.to_number(tf.strings.substr(record["id"], 1, -1))
        return {"image": image, "number": number}

    def noise(record, seed):
        image = record["image"] + tf.random.stateless_normal((8, 8, 3), seed)
        return {**record, "image": image}

    def make_dataset(step):
        return kmmft.data.build_dataset(
            data,
            split="train",
            preprocess=preprocess,
            augment=noise,
            batch_preprocess=batch_preprocess,
            batch_size=BATCH,
            training=True,
            start_step=step,
            shuffle_buffer=100,
            num_parallel_calls=parallel,
            prefetch=prefetch,
            max_bad_fraction=0.1,
        )

    keras.utils.set_random_seed(1)

    class Model(kmmft.training.DistributedTraining, keras.Model):
        pass

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Dropout(0.3)(keras.layers.Flatten()(inputs / 255))
    model = Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(8, "relu")(x)))
    # Eagerly, since to trace the step would be most of the work of a start.
    optimizer = keras.optimizers.SGD(1e-4, momentum=0.9)
    model.compile(optimizer, "mse", run_eagerly=True)

    class Log(keras.callbacks.Callback):
        """Notes the loss of each step: it tells the records, their order and noise."""

        def on_train_batch_end(self, batch, logs=None):
            step = int(self.model.optimizer.iterations.numpy())
            with seen.open("a") as file:
                file.write(json.dumps([step, float(logs["loss"]).hex()]) + "\n")

        def on_train_batch_begin(self, batch, logs=None):
            # The logs are means over an epoch; a step of its own tells more.
            self.model.reset_metrics()

    with kmmft.training.RunDirectory(output_dir, kmmft.training.RecipeConfig()) as run:
        kmmft.training.resumable_fit(
            model,
            make_dataset,
            run=run,
            steps_per_epoch=STEPS,
            epochs=EPOCHS,
            callbacks=[Log()],
            checkpoint_every_seconds=0.0,
            verbose=0,
        )
    weights = [variable.numpy() for variable in model.variables]
    np.savez(pathlib.Path(output_dir, "weights.npz"), *weights)


def write_data(folder: pathlib.Path) -> None:
    """Records in small shards: one byte of one is flipped, and two hold no image."""
    records = image_text_records(STEPS * BATCH + 3, bad=(100, 500))
    path = write_records(
        folder, kmmft.data.schema.image_text(), {"train": records}, shard_records=50
    )
    broken = sorted(path.glob("*.tfrecord*"))[4]
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content)


def start(function, *arguments):
    process = _PROCESSES.Process(target=function, args=arguments)
    process.start()
    return process


def finish(process) -> None:
    process.join()
    if process.exitcode > 0:
        raise SystemExit("A run failed.")


def steps_seen(output: pathlib.Path) -> list[list]:
    file = output / "seen.jsonl"
    lines = file.read_text().splitlines() if file.exists() else []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:  # What a kill cut off.
            continue
    return found


def run_with_kills(data: pathlib.Path, output: pathlib.Path, kills: int) -> None:
    choose = random.Random(0)
    while not (output / "weights.npz").exists():
        before = len(steps_seen(output))
        parallel, prefetch = choose.randint(1, 6), choose.randint(1, 4)
        process = start(train, str(data), str(output), parallel, prefetch)
        if kills:
            # So early that all kills hit, and at any moment of a step.
            wanted = before + choose.randint(0, STEPS * EPOCHS // 50)
            while process.is_alive() and len(steps_seen(output)) <= wanted:
                time.sleep(0.002)
            time.sleep(choose.random() * 0.05)
            kills -= process.is_alive()
            process.kill()
        finish(process)
    if kills:
        raise SystemExit(f"The run was over {kills} kills too early.")


def soak(kills: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        finish(start(write_data, folder))
        data = folder / "toy/1.0.0"
        whole, killed = folder / "whole", folder / "killed"
        begin = time.monotonic()
        run_with_kills(data, whole, 0)
        print(f"Uninterrupted: {time.monotonic() - begin:.0f} s", flush=True)
        run_with_kills(data, killed, kills)
        print(f"With kills: {time.monotonic() - begin:.0f} s", flush=True)
        expected = dict(steps_seen(whole))
        steps = steps_seen(killed)
        same_steps = all(expected[step] == loss for step, loss in steps)
        with (
            np.load(whole / "weights.npz") as one,
            np.load(killed / "weights.npz") as other,
        ):
            same = all((one[key] == other[key]).all() for key in one.files)
        count = len((killed / "quarantine.jsonl").read_text().splitlines())
        print(
            f"{kills} kills, {len(steps)} steps run for {len(expected)}; the same loss "
            f"at every step: {same_steps}; bit-identical weights: {same}; lines in "
            f"quarantine.jsonl: {count}"
        )
        if not (same and same_steps and {*expected} == {*dict(steps)}):
            raise SystemExit("The runs differ.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    soak(parser.parse_args().kills)
