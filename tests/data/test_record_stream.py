"""Hosts and replicas share the records; what is left over at the end of an epoch."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmmft.data import build_dataset, decode_image, open_source, schema, steps_per_epoch
from kmmft.data.epochs import Epochs
from kmmft.data.record_reader import RecordReader
from kmmft.data.record_stream import own_part, record_chunks
from kmmft.data.shard import Shard

from .conftest import image_text_records, write_records

BATCH = 30


def context(hosts, host, replicas=None):
    return tf.distribute.InputContext(hosts, host, replicas or hosts)


@pytest.fixture
def records_read(monkeypatch):
    """Numbers in their shards of all records that are read."""
    read, numbers = Shard.read, []

    def counted(shard, wanted):
        numbers.extend((shard.path, number) for number in wanted.tolist())
        return read(shard, wanted)

    monkeypatch.setattr(Shard, "read", counted)
    return numbers


def stream(directory, host=None, *, training, size, start=0, take=-1):
    """Positions and serialised records that a host reads."""
    split = open_source(directory).split("train")
    part, _ = own_part(BATCH, host)
    order = {"seed": 3, "window_records": 10} if training else {}
    chunks = record_chunks(
        RecordReader(split, on_error="raise"),
        Epochs(split.shard_lengths, size, **order),
        part,
        start=start,
        endless=training,
    )
    found = itertools.islice(chunks.unbatch().as_numpy_iterator(), take % 10**6)
    return [(int(position), record) for position, _, record in found]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("hosts", [1, 2, 3, 5])
def test_hosts_share_the_global_batches(hosts, training, toy_directory, records_read):
    alone = dict(stream(toy_directory, training=training, size=60, take=120))
    records_read.clear()
    together = {}
    for host in range(hosts):
        own = stream(
            toy_directory,
            context(hosts, host),
            training=training,
            size=60,
            take=120 // hosts,
        )
        rows = BATCH // hosts
        for position, _ in own:
            assert host * rows <= position % BATCH < (host + 1) * rows
        assert not together.keys() & dict(own).keys()
        together |= own
    assert together == alone
    if not training:
        # Each record was read by one host.
        assert len(alone) == len(records_read) == len(set(records_read)) == 60


@pytest.mark.parametrize("host", [0, 2])
def test_a_host_goes_on_where_it_was(host, toy_directory):
    def own(start):
        return stream(
            toy_directory,
            context(3, host),
            training=True,
            size=60,
            start=start,
            take=90 - start,
        )

    whole = own(0)
    assert own(16) == whole[16:]
    assert own(61) == whole[61:]


def test_resuming_reads_nothing_of_what_is_left_out(toy_directory, records_read):
    whole = stream(toy_directory, training=True, size=60, take=120)
    records_read.clear()
    assert stream(toy_directory, training=True, size=60, start=103, take=1)
    # The rest of a window, and those that are read ahead.
    assert len(records_read) < 40
    expected = [record for _, record in whole[103:]]
    split = open_source(toy_directory).split("train")
    reader = RecordReader(split, on_error="raise")
    ahead = [
        reader.read(np.array([split.files.index(path) * 7 + number]))[0]
        for path, number in records_read[:10]
    ]
    assert set(ahead) <= set(expected)


def only_id(record):
    return {"id": record["id"]}


def ids(dataset, batches=-1):
    return [
        [one.decode() for one in batch["id"]]
        for batch in dataset.take(batches).as_numpy_iterator()
    ]


def test_replicas_of_a_host_take_turns(toy_directory, two_replicas):
    """`distribute_datasets_from_function` gives replicas the rows that they get of
    global batches."""

    def build(input_context=None):
        return build_dataset(
            toy_directory,
            split="train",
            preprocess=only_id,
            batch_size=8,
            training=True,
            input_context=input_context,
        )

    whole = ids(build(), 3)
    given = iter(two_replicas.distribute_datasets_from_function(build))
    for batch in whole:
        parts = two_replicas.experimental_local_results(next(given)["id"])
        assert [part.numpy().astype(str).tolist() for part in parts] == [
            batch[:4],
            batch[4:],
        ]


BAD = (3, 31, 58)


@pytest.fixture(scope="module")
def bad_directory(tmp_path_factory):
    return write_records(
        tmp_path_factory.mktemp("bad"),
        schema.image_text(),
        {"train": image_text_records(60, bad=BAD)},
    )


def decode(record):
    return {"id": record["id"], "image": decode_image(record["image"], 8)}


def masked(directory, **options):
    options = {
        "split": "train",
        "max_bad_fraction": 1.0,
        "preprocess": decode,
    } | options
    dataset = build_dataset(directory, remainder="pad", **options)
    return list(dataset.take(6).as_numpy_iterator())


@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_with_a_mask_has_each_example_once(hosts, bad_directory):
    real = []
    for host in range(hosts):
        batches = masked(
            bad_directory,
            batch_size=18,
            training=False,
            input_context=context(hosts, host),
        )
        # All hosts have as many batches, of the same size.
        assert [len(batch["id"]) for batch in batches] == [18 // hosts] * 4
        for batch in batches:
            real += batch["id"][batch["sample_mask"]].astype(str).tolist()
    expected = [f"r{i}" for i in range(60) if i not in BAD]
    assert sorted(real) == sorted(expected)


def test_replicas_evaluate_each_example_once(bad_directory, two_replicas):
    """The metric of a padded evaluation is that of the sound records alone."""
    with two_replicas.scope():
        inputs = keras.Input((8, 8, 3))
        outputs = keras.layers.GlobalAveragePooling2D()(inputs)
        model = keras.Model(inputs, keras.ops.mean(outputs, axis=-1, keepdims=True))
        error = keras.metrics.MeanSquaredError(name="error")
        model.compile(loss="mse", weighted_metrics=[error])
    dataset = build_dataset(
        bad_directory,
        split="train",
        preprocess=decode,
        batch_preprocess=lambda batch: (
            batch["image"],
            tf.zeros((18, 1)),
            tf.cast(batch["sample_mask"], tf.float32),
        ),
        batch_size=18,
        training=False,
        max_bad_fraction=1.0,
        remainder="pad",
    )
    # The picture of record i has the colour i.
    expected = np.mean([i**2 for i in range(60) if i not in BAD])
    logs = model.evaluate(dataset, return_dict=True, verbose=0)
    np.testing.assert_allclose(logs["error"], expected, rtol=1e-6)


def test_a_chunk_without_any_good_record_is_masked(tmp_path):
    path = write_records(
        tmp_path,
        schema.image_text(),
        {"train": image_text_records(40, bad=range(16, 32))},
    )
    batches = masked(path, batch_size=16, training=False)
    assert [int(batch["sample_mask"].sum()) for batch in batches] == [16, 0, 8]
    assert not batches[1]["image"].any() and batches[2]["image"].shape == (16, 8, 8, 3)


@pytest.mark.parametrize("remainder", ["drop", "pad", "repeat"])
def test_epochs_of_training_that_do_not_divide(remainder, toy_directory):
    steps = {"drop": 3, "pad": 4, "repeat": 4}[remainder]
    options = {"split": "train", "batch_size": 16, "training": True}
    assert steps == steps_per_epoch(toy_directory, "train", 16, remainder=remainder)

    def build(**more):
        return build_dataset(
            toy_directory, preprocess=only_id, remainder=remainder, **options, **more
        )

    batches = list(build().take(2 * steps).as_numpy_iterator())
    resumed = list(build(start_step=steps + 1).take(2).as_numpy_iterator())
    for one, other in zip(batches[steps + 1 :], resumed, strict=False):
        np.testing.assert_equal(one, other)
    for epoch in range(2):
        own = batches[epoch * steps : (epoch + 1) * steps]
        names = np.concatenate([batch["id"] for batch in own]).astype(str).tolist()
        assert ("sample_mask" in own[0]) == (remainder == "pad")
        if remainder == "drop":
            assert len(set(names)) == len(names) == 48
            continue
        assert sorted(names[:60]) == sorted(f"r{i}" for i in range(60))
        assert names[60:] == names[:4]
        if remainder == "pad":
            mask = np.concatenate([batch["sample_mask"] for batch in own])
            assert mask.tolist() == [True] * 60 + [False] * 4


@pytest.mark.parametrize(
    ("remainder", "sizes"), [("drop", [16] * 3), ("repeat", [16] * 4)]
)
def test_evaluation_in_full_batches(remainder, sizes, toy_directory):
    dataset = build_dataset(
        toy_directory,
        split="train",
        preprocess=only_id,
        batch_size=16,
        training=False,
        remainder=remainder,
    )
    seen = ids(dataset)
    assert [len(batch) for batch in seen] == sizes
    flat = list(itertools.chain.from_iterable(seen))
    assert flat == [f"r{i % 60}" for i in range(sum(sizes))]


def test_fewer_records_than_a_batch(toy_directory):
    (batch,) = build_dataset(
        toy_directory,
        split="test",
        preprocess=only_id,
        batch_size=24,
        training=False,
        remainder="pad",
    )
    assert batch["sample_mask"].numpy().tolist() == [True] * 10 + [False] * 14


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"remainder": "keep"}, r"one of \['drop', 'pad', 'repeat'\] in training"),
        ({"on_error": "ignore"}, "`on_error` must be one of"),
        ({"cache_decoded": True}, "`cache_decoded` needs a place"),
        ({"input_context": context(3, 0)}, "batch_size=8, 3 replicas, 3 hosts"),
        ({"data_service": "grpc://a:1"}, r"with on_error\. Pass on_error='raise'"),
    ],
)
def test_arguments_are_checked(options, message, toy_directory):
    with pytest.raises(ValueError, match=message):
        build_dataset(
            toy_directory, split="train", batch_size=8, training=True, **options
        )
