import os

import numpy as np
import pytest
import tensorflow as tf

from kmmft.data.framing import _masked_crcs, frame, masked_crc, read_frames

PAYLOADS = [b"first", b"", b"third" * 9, bytes(40), b"last"]


def write(path, payloads=PAYLOADS):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in payloads:
            writer.write(payload)
    return path.read_bytes()


def kept(path):
    return [found.payload for found in read_frames(path) if found.payload is not None]


def test_frames_are_those_of_tensorflow(tmp_path):
    path = tmp_path / "a.tfrecord"
    data = write(path)
    assert b"".join(map(frame, PAYLOADS)) == data
    frames = list(read_frames(path))
    assert [found.payload for found in frames] == PAYLOADS
    assert not any(found.problem for found in frames)
    path.write_bytes(b"")
    assert not list(read_frames(path))


def test_many_checksums_at_once():
    lengths = np.random.default_rng(0).integers(0, 256, (50, 8), np.uint8)
    expected = [masked_crc(row.tobytes()) for row in lengths]
    assert _masked_crcs(lengths).tolist() == expected


def test_every_flipped_byte_costs_one_record_at_most(tmp_path):
    """All bytes of the file in turn: lengths, their checksums, payloads, theirs."""
    path = tmp_path / "a.tfrecord"
    data = write(path)
    ends = np.cumsum([16 + len(payload) for payload in PAYLOADS])
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 1 + place % 255
        path.write_bytes(broken)
        frames = list(read_frames(path))
        assert sum(found.num_bytes for found in frames) == len(data)
        assert sum(found.problem is not None for found in frames) == 1
        hit = int(np.searchsorted(ends, place, side="right"))
        in_head = place - (ends[hit] - 16 - len(PAYLOADS[hit])) < 12
        others = PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
        # What is broken in the head of a record does not touch what it holds.
        assert kept(path) == (PAYLOADS if in_head else others), place


def test_a_thousand_flips_in_a_shard_of_large_records(tmp_path):
    path = tmp_path / "a.tfrecord"
    random = np.random.default_rng(0)
    payloads = [random.bytes(size) for size in random.integers(0, 5000, 40)]
    data = np.frombuffer(write(path, payloads), np.uint8)
    for place in random.integers(0, len(data), 1000):
        broken = data.copy()
        broken[place] ^= random.integers(1, 256, dtype=np.uint8)
        path.write_bytes(broken)
        frames = list(read_frames(path))
        assert sum(found.problem is not None for found in frames) == 1
        whole = [found.payload for found in frames if found.payload is not None]
        assert len(whole) >= 39 and set(whole) <= set(payloads)


def test_every_cut_keeps_what_is_before_it(tmp_path):
    path = tmp_path / "a.tfrecord"
    data = write(path)
    ends = [0, *np.cumsum([16 + len(payload) for payload in PAYLOADS])]
    for size in range(1, len(data)):
        path.write_bytes(data[:size])
        frames = list(read_frames(path))
        whole = sum(end <= size for end in ends[1:])
        assert kept(path) == PAYLOADS[:whole]
        assert (frames[-1].problem is None) == (size in ends)


@pytest.mark.parametrize("first, last", [(3, 9), (30, 60), (17, 40)])
def test_bytes_cut_out_of_the_middle(tmp_path, first, last):
    path = tmp_path / "a.tfrecord"
    data = write(path)
    path.write_bytes(data[:first] + data[last:])
    ends = np.cumsum([16 + len(payload) for payload in PAYLOADS])
    starts = [0, *ends[:-1]]
    expected = [
        payload
        for payload, start, end in zip(PAYLOADS, starts, ends, strict=True)
        if end <= first or start >= last
    ]
    assert kept(path) == expected


def test_bytes_put_in_between(tmp_path):
    path = tmp_path / "a.tfrecord"
    data = write(path)
    path.write_bytes(data[:21] + os.urandom(2_000_000) + data[21:])
    assert kept(path) == PAYLOADS
