import io
import json
import os
import pathlib
import subprocess
import sys

import PIL.Image
import pytest

import tests
from tfrecords_tools import BuildOptions, build_manifest, resumable_build
from tfrecords_tools.__main__ import main
from tfrecords_tools.write_records import _told
from tfrecords_tools.writer import DatasetWriter


class Killed(BaseException):
    """Ends a build like a kill: nothing is cleared away."""


@pytest.fixture
def folder(tmp_path, encoded_image):
    """Twenty pairs, of which one has no picture and another a picture too small."""
    rows = []
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(encoded_image(number))
        rows.append({"image": f"{number}.png", "caption": f"caption {number}"})
    (tmp_path / "7.png").unlink()
    small = io.BytesIO()
    PIL.Image.new("L", (2, 9)).save(small, "PNG")
    (tmp_path / "8.png").write_bytes(small.getvalue())
    write_rows(tmp_path, rows)
    return tmp_path


def write_rows(folder, rows):
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))


def build(folder, name="data", **options):
    options = {"num_shards": 3, "min_side": 4, "skip_bad": True} | options
    return build_manifest(
        manifest=folder / "pairs.jsonl",
        output_dir=folder / name,
        name="pairs",
        image_column="image",
        caption_column="caption",
        validation_fraction=0.2,
        test_fraction=0.0,
        options=BuildOptions(**options),
    )


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def stop_at(monkeypatch):
    """Function that lets builds raise at the record of this number, or never more."""
    monkeypatch.setattr(resumable_build, "_CHECKPOINT_SECONDS", 0.0)
    write = DatasetWriter.write
    written = []

    def stop_at(number=None, error=KeyboardInterrupt):
        def write_or_stop(writer, split, record):
            if len(written) == number:
                raise error
            written.append(record["id"])
            write(writer, split, record)

        written.clear()
        monkeypatch.setattr(DatasetWriter, "write", write_or_stop)
        return written

    return stop_at


def test_fifty_kills(folder):
    """Points at random of everything that a build does, found by counting calls."""
    program = [sys.executable, "-m", "tests.tfrecords_tools.kill_build"]
    root = pathlib.Path(tests.__file__).parent.parent
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [*program, str(folder), "50"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        cwd=root,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    counts = json.loads(result.stdout)
    assert counts["killed"] >= 45
    assert counts["left_something"] >= 15


def test_an_interrupted_build_goes_on(folder, stop_at, caplog):
    build(folder, "whole")
    written = stop_at(11)
    with pytest.raises(KeyboardInterrupt) as info:
        build(folder)
    assert "the same command goes on" in info.value.__notes__[0]
    assert not (folder / "data" / "pairs").exists()
    written = stop_at()
    result = build(folder, num_workers=1)
    assert len(written) == 18 - 11
    assert "of 20 records are done" in caplog.text
    assert content(folder / "data") == content(folder / "whole")
    assert result.skipped == {"bad": 1, "min_side": 1}
    assert result.num_skipped == 2
    assert sum(result.num_records.values()) == 18


@pytest.mark.parametrize("change", ["arguments", "file", "spool", "journal"])
def test_what_changed_is_built_afresh(folder, stop_at, change, caplog):
    stop_at(11)
    with pytest.raises(KeyboardInterrupt):
        build(folder)
    options = {}
    (incomplete,) = (folder / "data").glob(".pairs*")
    if change == "arguments":
        options["min_side"] = 5
    elif change == "file":
        # The first record of all.
        journal = (incomplete / "journal.jsonl").read_text().splitlines()
        assert len(journal) > 5
        for number in range(20):
            os.utime(folder / f"{number if number != 7 else 0}.png", (1, 1))
    elif change == "spool":
        for spool in (incomplete / "data").iterdir():
            spool.write_bytes(b"\0" * spool.stat().st_size)
    else:
        (incomplete / "journal.jsonl").unlink()
    written = stop_at()
    build(folder, **options)
    assert len(written) == 18
    assert "starts afresh" in caplog.text
    named = "arguments or the source are not those" in caplog.text
    assert named == (change != "journal")
    build(folder, "whole", **options)
    assert content(folder / "data") == content(folder / "whole")


def above(limit, words=("bad",)):
    def keep(record, strict=True):
        return record["score"] > limit and not any(word in words for word in record)

    return keep


def test_filters_are_told_apart_by_what_they_hold():
    told = _told
    assert told(above(0.5)) == told(above(0.5))
    assert told(above(0.5)) != told(above(0.9))
    assert told(above(0.5)) != told(above(0.5, ("good",)))
    assert told(lambda r, t=0.5: r > t) != told(lambda r, t=0.9: r > t)
    assert told(lambda r: any(w in ("bad",) for w in r)) != told(
        lambda r: any(w in ("good",) for w in r)
    )


def test_a_change_behind_what_is_done_costs_little(folder, stop_at):
    stop_at(11)
    with pytest.raises(KeyboardInterrupt):
        build(folder)
    # The order is that of a hash of the ids.
    written = stop_at()
    build(folder, "again")
    last = folder / written[-1]
    last.write_bytes((folder / "0.png").read_bytes())
    written = stop_at()
    build(folder)
    assert len(written) == 18 - 11
    build(folder, "whole")
    assert content(folder / "data") == content(folder / "whole")


def test_goes_on_with_skip_bad(folder, stop_at, caplog):
    """As the message of a bad row advises; and rows once skipped stay bad."""
    stop_at()
    whole = build(folder, "whole")
    written = stop_at()
    with pytest.raises(ValueError, match=r"pairs\.jsonl line 8: .*--skip_bad"):
        build(folder, skip_bad=False)
    done = len(written)
    assert 0 < done < 18
    # Everything but the last record, with the bad row skipped.
    written = stop_at(17 - done)
    with pytest.raises(KeyboardInterrupt):
        build(folder)
    assert len(written) == 17 - done
    with pytest.raises(ValueError, match=r"pairs\.jsonl line 8: .*--skip_bad"):
        build(folder, skip_bad=False)
    written = stop_at()
    assert build(folder).skipped == whole.skipped
    assert len(written) == 1
    assert content(folder / "data") == content(folder / "whole")


def test_a_half_written_journal_line_is_not_read(folder, stop_at):
    stop_at(11)
    with pytest.raises(KeyboardInterrupt):
        build(folder)
    (journal,) = (folder / "data").glob(".pairs*/journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-5])
    written = stop_at()
    build(folder)
    assert 18 - 11 < len(written) < 18
    build(folder, "whole")
    assert content(folder / "data") == content(folder / "whole")


def test_full_disk(folder, stop_at, capsys):
    stop_at(11, OSError(28, "No space left on device"))
    command = f"build manifest --manifest {folder}/pairs.jsonl --name pairs"
    command += " --image_column image --caption_column caption --skip_bad"
    command += f" --output_dir {folder}/data"
    assert main(command.split()) == 2
    errors = capsys.readouterr().err.splitlines()
    full = [line for line in errors if line.startswith("error: ")]
    assert full == [
        f"error: There must be room for the dataset. Received: {folder}/data (No space "
        "left on device); free some and run the same command again."
    ]
    assert "is kept in" in errors[-1]
    assert [path.name[0] for path in (folder / "data").iterdir()] == ["."]
    written = stop_at()
    assert main(command.split()) == 0
    assert 0 < len(written) < 18
    assert [path.name for path in (folder / "data").iterdir()] == ["pairs"]


def test_two_builds_at_once(folder, stop_at):
    start = DatasetWriter.start_afresh

    def build_another(writer):
        start(writer)
        with pytest.raises(ValueError, match="One process at a time"):
            build(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatasetWriter, "start_afresh", build_another)
        build(folder)
    build(folder, "whole")
    assert content(folder / "data") == content(folder / "whole")


def test_the_command_tells_what_is_kept(folder, stop_at, capsys):
    command = f"build manifest --manifest {folder}/pairs.jsonl --name pairs"
    command += " --image_column image --caption_column caption --skip_bad"
    command += f" --output_dir {folder}/data"
    stop_at(11)
    assert main(command.split()) == 130
    kept = f"What is whole is kept in {folder}/data/.pairs-1.0.0.incomplete: the same "
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted: {kept}command goes on from there."
    stop_at(5, SystemExit(143))
    with pytest.raises(SystemExit):
        main(command.split())
    assert kept in capsys.readouterr().err
    stop_at()
    assert main(command.split()) == 0
    assert "Goes on with a build that did not end" in capsys.readouterr().err
