"""How far training on N replicas is from one device, for every contrastive loss.

Two steps of two tiny towers with momentum, L2 regularisers, groups and a learnt
temperature, on logical CPUs: the largest difference of a loss and of a weight. The
tests hold both below 1e-5; measured are 1e-6 and 4e-7 at most.
"""

from kmmft.evaluation import Table
from tests.benchmarks.own_process import output_of

PROGRAM = """
import keras, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration() for _ in range(4)])
from tests.models import contrastive_cases as cases
strategies = [
    tf.distribute.MirroredStrategy(
        [f"CPU:{i}" for i in range(count)],
        cross_device_ops=tf.distribute.ReductionToOneDevice())
    for count in (2, 4)]
for name, make in cases.LOSSES.items():
    inputs = cases.batch(teacher=name == "distillation")
    _, losses, weights = cases.train(loss=make(), inputs=inputs)
    differences = []
    for strategy, micro in (
        (None, 2), (strategies[0], None), (strategies[1], None), (strategies[0], 2)
    ):
        _, other_losses, other_weights = cases.train(
            strategy, make(), inputs=inputs, micro_batch_size=micro)
        loss = max(abs(a - b) for a, b in zip(losses, other_losses))
        weight = cases.largest_difference(weights, other_weights)
        differences.append(f"{loss:.0e}/{weight:.0e}")
    print("ROW", name, *differences)
"""


def measure() -> Table:
    printed = output_of(PROGRAM, environment={"CUDA_VISIBLE_DEVICES": "-1"})
    lines = [line.split() for line in printed.splitlines()]
    return Table(
        "Difference from one device: loss/weights",
        ["loss", "1, cached", "2 replicas", "4 replicas", "2, cached"],
        [line[1:] for line in lines if line[:1] == ["ROW"]],
    )
