import pytest
import tensorflow as tf

from kmmft.data import build_dataset


def only_id(record):
    return {"id": record["id"]}


@pytest.fixture(scope="module")
def service():
    """A dispatcher and two workers in this process."""
    server = tf.data.experimental.service
    dispatcher = server.DispatchServer()
    address = dispatcher.target.split("://")[1]
    config = server.WorkerConfig(dispatcher_address=address)
    workers = [server.WorkerServer(config) for _ in range(2)]
    yield dispatcher.target
    del workers, dispatcher


def ids(dataset, batches=-1):
    taken = dataset.take(batches).as_numpy_iterator()
    return [one.decode() for batch in taken for one in batch["id"]]


def test_evaluation_has_each_record_once(service, toy_directory):
    dataset = build_dataset(
        toy_directory,
        split="train",
        preprocess=only_id,
        batch_size=8,
        training=False,
        on_error="raise",
        data_service=service,
    )
    assert sorted(ids(dataset)) == sorted(f"r{i}" for i in range(60))


def test_training_shares_the_epochs(service, toy_directory):
    dataset = build_dataset(
        toy_directory,
        split="train",
        preprocess=only_id,
        batch_size=10,
        training=True,
        shuffle_buffer=20,
        on_error="raise",
        data_service=service,
    )
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    seen = ids(dataset, 24)
    assert len(seen) == 240
    # Four epochs' worth of batches hold each record, and none much oftener.
    counts = [seen.count(f"r{i}") for i in range(60)]
    assert min(counts) >= 1 and max(counts) <= 8


def test_hosts_share_the_batches(service, toy_directory):
    hosts = [
        build_dataset(
            toy_directory,
            split="train",
            preprocess=only_id,
            batch_size=8,
            training=False,
            on_error="raise",
            data_service=service,
            input_context=tf.distribute.InputContext(2, host, 2),
        )
        for host in (0, 1)
    ]
    iterators = [host.as_numpy_iterator() for host in hosts]
    # Both are there before the first one has everything.
    batches = [next(iterator)["id"] for iterator in iterators]
    for iterator in iterators:
        batches += [batch["id"] for batch in iterator]
    assert max(len(batch) for batch in batches) == 4  # of one replica
    # Were there a job for each host, both would have all records.
    seen = sorted(one.decode() for batch in batches for one in batch)
    assert seen == sorted(f"r{i}" for i in range(60))
