import pytest

from tfrecords_tools.split_spool import (
    SplitSpool,
    cut_into_shards,
    cut_is_whole,
    whole_records,
)


@pytest.fixture
def spool(tmp_path):
    spool = SplitSpool(tmp_path / "words-train.tfrecord")
    for number in range(10):
        spool.write(b"x" * number)
    spool.close()
    return spool


def test_whole_records(spool):
    assert list(whole_records(spool.path, *spool.total)) == list(range(10))
    assert list(whole_records(spool.path, 3, 3 * 16 + 3)) == [0, 1, 2]
    assert whole_records(spool.path, 3, 3 * 16 + 4) is None
    assert whole_records(spool.path, 2, 3 * 16 + 3) is None
    content = bytearray(spool.path.read_bytes())
    for place in (2, 9, 16 + 12, len(content) - 2):
        broken = content.copy()
        broken[place] ^= 1
        spool.path.write_bytes(broken)
        assert whole_records(spool.path, *spool.total) is None
    spool.path.write_bytes(content[:-1])
    assert whole_records(spool.path, *spool.total) is None


def test_what_stands_behind_is_cut_off(spool):
    again = SplitSpool(spool.path, [0, 1, 2])
    again.write(b"new")
    again.close()
    assert list(whole_records(spool.path, *again.total)) == [0, 1, 2, 3]
    assert spool.path.stat().st_size == again.total[1]


@pytest.mark.parametrize("num_cut", range(3))
def test_cutting_goes_on(spool, monkeypatch, num_cut):
    whole = spool.path.read_bytes()
    sizes = spool.shard_sizes(3)
    assert [count for count, _ in sizes] == [3, 3, 4]
    from tfrecords_tools import split_spool

    cut, left = split_spool._cut_off_end, num_cut

    def stop(source, num_bytes, path):
        nonlocal left
        if not left:
            path.write_bytes(b"half a shard")
            raise KeyboardInterrupt
        left -= 1
        cut(source, num_bytes, path)

    with monkeypatch.context() as patch:
        patch.setattr(split_spool, "_cut_off_end", stop)
        with pytest.raises(KeyboardInterrupt):
            cut_into_shards(spool.path, sizes)
    assert cut_is_whole(spool.path, sizes)
    if num_cut:
        last = spool.path.with_name("words-train.tfrecord-00002-of-00003")
        content = last.read_bytes()
        last.write_bytes(bytes(len(content)))
        assert not cut_is_whole(spool.path, sizes)
        last.write_bytes(content)
    shards = cut_into_shards(spool.path, sizes)
    files = [spool.path.with_name(shard["file"]) for shard in shards]
    assert b"".join(file.read_bytes() for file in files) == whole
    assert not spool.path.exists()
