import json
import logging
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow_datasets as tfds

from tfrecords_tools.__main__ import main


@pytest.fixture
def pairs(tmp_path, encoded_image):
    (tmp_path / "images").mkdir()
    for number in range(4):
        (tmp_path / f"images/{number}.png").write_bytes(encoded_image(number))
    rows = [
        {"image": f"images/{n}.png", "caption": f"c{n}", "split": "train"}
        for n in range(4)
    ]
    rows[3]["split"] = "test"
    manifest = tmp_path / "pairs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    return manifest


def command(manifest, *more):
    words = (
        f"build manifest --manifest {manifest} --image_column image --caption_column"
    )
    words += f" caption --split_column split --name pets --output_dir {manifest.parent}"
    return [*words.split(), *more]


def test_build_manifest(pairs, capsys):
    assert main(command(pairs)) == 0
    directory = pairs.parent / "pets" / "1.0.0"
    output, errors = capsys.readouterr()
    assert re.fullmatch(
        rf"{directory}: train 3, test 1 records, \d+\.\d MB, \d+\.\d s\n", output
    )
    assert errors == ""
    builder = tfds.builder_from_directory(directory)
    assert builder.info.splits["train"].num_examples == 3


def test_input_errors_are_one_line(pairs, capsys):
    (pairs.parent / "images" / "2.png").unlink()
    assert main(command(pairs)) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert re.fullmatch(r"error: pairs\.jsonl line 3: .*2\.png' does not.*\n", errors)
    with pytest.raises(ValueError, match="does not exist"):
        main(command(pairs, "--debug"))


def test_flags(pairs, capsys):
    (pairs.parent / "images" / "2.png").unlink()
    (pairs.parent / "images" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish")
    more = ["--skip_bad", "--no-check_images", "--num_shards", "2"]
    assert main(command(pairs, *more)) == 0
    output, errors = capsys.readouterr()
    assert "train 2, test 1 records, 1 rows skipped" in output
    assert errors.startswith("Skipped pairs.jsonl line 3: The image")
    directory = pairs.parent / "pets" / "1.0.0"
    assert (directory / "pets-train.tfrecord-00001-of-00002").exists()
    assert main(command(pairs, *more)) == 2
    assert main(command(pairs, *more, "--overwrite")) == 0
    # Nothing is left behind in the logging of the process.
    assert logging.getLogger("tfrecords_tools").handlers == []


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([], "python -m tfrecords_tools build easy_vqa --output_dir data"),
        (["build"], "image_folder"),
        (["build", "easy_vqa"], "--validation_fraction"),
        (["build", "manifest"], "--answer_column"),
        (["build", "image_folder"], "--no_check_images"),
        (["build", "webdataset"], "--group_near_duplicates"),
    ],
)
def test_help(words, shown, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main([*words, "--help"])
    assert exit_info.value.code == 0
    output = capsys.readouterr().out
    assert shown in output
    # A callback is for Python only.
    assert "--filter" not in output


def test_wrong_flags(capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["build", "easy_vqa", "--outputdir", "x"])
    assert exit_info.value.code == 2
    assert "--output_dir" in capsys.readouterr().err


def test_termination_leaves_nothing(pairs, monkeypatch):
    def write_and_be_stopped(writer, split, record):
        assert list(pairs.parent.glob(".pets-*"))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(
        "tfrecords_tools.writer.DatasetWriter.write", write_and_be_stopped
    )
    # Without a handler of its own, the command would take the test run with it.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(SystemExit) as exit_info:
            main(command(pairs))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert exit_info.value.code == 128 + signal.SIGTERM
    names = {path.name for path in pairs.parent.iterdir()}
    assert names == {"images", "pairs.jsonl"}


def test_interruption_leaves_nothing(pairs, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("tfrecords_tools.writer.DatasetWriter.write", interrupt)
    assert main(command(pairs)) == 130
    assert capsys.readouterr().err == "interrupted: nothing was written\n"
    assert {path.name for path in pairs.parent.iterdir()} == {"images", "pairs.jsonl"}


def test_help_does_not_wait_for_tensorflow():
    program = (
        "import sys, tfrecords_tools.__main__ as tools\n"
        "try: tools.main(['build', 'manifest', '--help'])\n"
        "except SystemExit: sys.exit('tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert result.returncode == 0
    assert b"--caption_column" in result.stdout


def test_dry_run(pairs, capsys):
    assert main(command(pairs, "--dry_run", "--min_side", "3")) == 0
    output = capsys.readouterr().out
    assert "(dry run, nothing is written): train 3, test 1 records" in output
    assert '"captions": ["c3"]' in output
    assert not (pairs.parent / "pets").exists()


def test_options_out_of_range(pairs, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(command(pairs, "--max_side", "0"))
    assert exit_info.value.code == 2
    assert "max_side must be 1 or more" in capsys.readouterr().err
