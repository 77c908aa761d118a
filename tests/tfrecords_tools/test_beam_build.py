"""A Beam runner writes what one machine writes.

Apache Beam asks for an older protobuf than TensorFlow brings, so it is not in the
environment of the tests: what its workers do is tested without it, and with it where it
is installed (`pip install 'kmmft[beam]'`).
"""

import importlib.util
import json
import logging

import pytest

from kmmft.data import schema
from tfrecords_tools import BuildOptions, beam_build, build_manifest
from tfrecords_tools.__main__ import main
from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.image_loading import ImageLoader
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.write_records import write_records

WITH_BEAM = importlib.util.find_spec("apache_beam") is not None


@pytest.fixture
def manifest(tmp_path, encoded_image):
    """Pictures in three splits; some of them are no pictures."""
    rows = []
    for number in range(40):
        path = tmp_path / f"{number}.png"
        path.write_bytes(b"rubbish" if number % 10 == 3 else encoded_image(number))
        rows.append({"image": path.name, "caption": f"Größe {number}"})
    rows.append({"image": "gone.png", "caption": "Gone"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def build(manifest, folder, runner=None, name="set", **options):
    options = {"skip_bad": True, "num_shards": 3, "max_side": 5} | options
    return build_manifest(
        manifest=manifest,
        output_dir=manifest.parent / folder,
        name=name,
        image_column="image",
        caption_column="caption",
        validation_fraction=0.2,
        test_fraction=0.2,
        options=BuildOptions(runner=runner, **options),
    )


def content(result):
    return {path.name: path.read_bytes() for path in result.directory.iterdir()}


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(beam_build, "RECORDS_PER_PART", 7)


@pytest.fixture
def in_this_process(monkeypatch):
    """The workers' work, not in order, and some of it twice."""
    worked = []

    def run(options, work, count):
        for number in [*reversed(range(count)), 0]:
            worked.append((type(work).__name__, number))
            work(number)

    monkeypatch.setattr(beam_build, "_run", run)
    monkeypatch.setattr("tfrecords_tools.write_records.check_beam", lambda _: None)
    return worked


def test_same_bytes(manifest, small_parts, in_this_process):
    here = build(manifest, "here")
    there = build(manifest, "there", "DirectRunner")
    assert here.num_skipped == there.num_skipped == 5
    assert here.num_records == there.num_records and len(here.num_records) == 3
    assert content(here) == content(there)
    assert ("PartJob", 5) in in_this_process and ("ShardJob", 8) in in_this_process
    # Nothing else is left.
    assert [path.name for path in there.directory.parent.parent.iterdir()] == ["set"]
    by_filter = {"filter": lambda record: record["captions"] != ["Größe 1"]}
    here = build(manifest, "here", name="few", **by_filter)
    there = build(manifest, "there", "DirectRunner", name="few", **by_filter)
    assert content(here) == content(there) and here.skipped["filter"] == 1


def test_ids_that_come_twice(tmp_path, small_parts, in_this_process):
    """Also where one part ends; only the first that can be written is."""
    rows = [
        SourceRecord("train", {"id": f"{n // 3}"}, None, (Place("x", n),))
        for n in range(30)
    ]
    rows[4].values["text"] = None
    for row in rows:
        row.values.setdefault("text", "hi")
        row.values["label"] = "a"
    found = []
    for runner in (None, "DirectRunner"):
        found.append(
            write_records(
                rows,
                BadRows(skip_bad=True),
                output_dir=tmp_path / str(runner),
                name="set",
                features=schema.labelled(image=False, class_names=["a"]),
                options=BuildOptions(skip_bad=True, runner=runner),
                started=0.0,
            )
        )
    assert found[0].num_records == {"train": 10} and found[0].num_skipped == 20
    assert content(found[0]) == content(found[1])


def test_a_bad_row_ends_it(manifest, small_parts, in_this_process):
    with pytest.raises(
        ValueError, match=r"pairs\.jsonl line \d+: The image .*skip_bad"
    ):
        build(manifest, "there", "DirectRunner", skip_bad=False)
    # The others saw that there is nothing left to do.
    parts = list((manifest.parent / "there").glob(".set*/parts-*/*.json"))
    assert 1 <= len(parts) < 6
    with pytest.raises(ValueError, match=r"filter must take any record.*KeyError"):
        build(manifest, "there", "DirectRunner", filter=lambda record: record["no"])


@pytest.fixture
def images_read(monkeypatch):
    """The images that were read, in order."""
    read, real = [], ImageLoader.__call__

    def noted(self, image):
        read.append(image)
        return real(self, image)

    monkeypatch.setattr(ImageLoader, "__call__", noted)
    return read


def test_goes_on_with_skip_bad(manifest, in_this_process, images_read, monkeypatch):
    """The part that stopped at a bad row is done again, the others are kept."""
    monkeypatch.setattr(beam_build, "RECORDS_PER_PART", 3)
    # From the first part on, whose rows are good.
    monkeypatch.setattr(beam_build, "_run", lambda _, work, n: [*map(work, range(n))])
    good = (manifest.parent / "0.png").read_bytes()
    for name in ("13", "23", "33", "gone"):
        (manifest.parent / f"{name}.png").write_bytes(good)
    here = build(manifest, "here")
    assert here.num_skipped == 1
    images_read.clear()
    with pytest.raises(ValueError, match="skip_bad"):
        build(manifest, "there", "DirectRunner", skip_bad=False)
    (folder,) = (manifest.parent / "there").glob(".set*/parts-*")
    found = [json.loads(path.read_bytes()) for path in folder.glob("0*.json")]
    whole = [part for part in found if part["whole"]]
    assert len(whole) == len(found) - 1 > 0
    images_read.clear()
    there = build(manifest, "there", "DirectRunner")
    assert len(images_read) == 41 - 3 * len(whole)
    assert content(there) == content(here)


def test_skipped_rows_are_not_kept_silently(
    manifest, small_parts, in_this_process, monkeypatch
):
    """A build that may skip no more ends at the bad rows of the parts it kept."""
    with monkeypatch.context() as patch:
        patch.setattr(beam_build, "_take_in", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(manifest, "there", "DirectRunner")
    with pytest.raises(ValueError, match=r"pairs\.jsonl line \d+: .*skip_bad"):
        build(manifest, "there", "DirectRunner", skip_bad=False)


def interrupted(*_):
    raise KeyboardInterrupt


def test_goes_on_after_an_error(manifest, small_parts, in_this_process):
    """A part that met an error is not taken for one without records."""
    here, failing = build(manifest, "here"), manifest.with_name("failing")
    failing.touch()

    def keep(record):
        if failing.exists():
            raise MemoryError
        return True

    with pytest.raises(ValueError, match=r"filter must take any record.*MemoryError"):
        build(manifest, "there", "DirectRunner", filter=keep)
    failing.unlink()
    assert content(build(manifest, "there", "DirectRunner", filter=keep)) == content(
        here
    )


def test_goes_on_with_whole_parts(
    manifest, small_parts, in_this_process, monkeypatch, caplog
):
    seen, real = [], ImageLoader.__call__

    def counted(self, image):
        seen.append(image)
        if len(seen) == 20:
            raise MemoryError
        return real(self, image)

    monkeypatch.setattr(ImageLoader, "__call__", counted)
    with pytest.raises(MemoryError):
        build(manifest, "there", "DirectRunner")
    (folder,) = (manifest.parent / "there").glob(".set*/parts-*")
    whole = len(list(folder.glob("0*.json")))
    assert whole == 2
    # A picture that changed meanwhile is read again.
    (manifest.parent / "5.png").write_bytes((manifest.parent / "6.png").read_bytes())
    seen[:] = [None] * 20
    there = build(manifest, "there", "DirectRunner")
    assert 41 - 2 * 7 <= len(seen) - 20 <= 41 - 7
    assert content(there) == content(build(manifest, "here"))


def test_without_beam(manifest, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'kmmft\[beam\]'"):
        build(manifest, "there", "DirectRunner")
    with pytest.raises(ValueError, match="no runner; give one"):
        BuildOptions(runner_options=("a=b",))
    with pytest.raises(SystemExit):
        main(["build", "--help"])
    assert "flink_master" in capsys.readouterr().out


@pytest.mark.skipif(not WITH_BEAM, reason="Apache Beam is not installed")
@pytest.mark.parametrize("mode", ["in_memory", "multi_processing"])
def test_with_beam(manifest, small_parts, mode):
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    options = (f"direct_running_mode={mode}", "direct_num_workers=2")
    there = build(manifest, "there", "DirectRunner", runner_options=options)
    assert content(there) == content(build(manifest, "here"))


@pytest.mark.skipif(not WITH_BEAM, reason="Apache Beam is not installed")
def test_errors_of_beam(manifest, capsys):
    words = ["build", "manifest", "--manifest", str(manifest), "--name", "set"]
    words += ["--image_column", "image", "--caption_column", "caption"]
    words += ["--output_dir", str(manifest.parent / "there")]
    assert main([*words, "--runner", "NoSuchRunner"]) == 2
    message = capsys.readouterr().err
    assert "runner='NoSuchRunner' (" in message and message.count("\n") == 1
    assert main([*words, "--runner", "DirectRunner"]) == 2
    assert "--skip_bad" in capsys.readouterr().err
