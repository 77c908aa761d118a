"""Kills a build with SIGKILL at many points, and lets the same build go on.

Run by test_resuming.py in a process of its own, which imports everything once and then
forks: no thread of TensorFlow runs yet. A child counts the function calls of its main
thread and kills itself at one of them, so every point of the program is as likely as
the calls there are many.

    python -m tests.tfrecords_tools.kill_build FOLDER NUM_KILLS
"""

import json
import os
import pathlib
import random
import signal
import sys
import time

from tfrecords_tools import BuildOptions, build_manifest, resumable_build

# A checkpoint at every record, or at none but the last.
CHECKPOINT_SECONDS = (0.0, 1000.0)


def build(folder: pathlib.Path, name: str, overwrite: bool = False) -> None:
    """Builds the pairs of the folder; one of them is bad, another one unwanted."""
    build_manifest(
        manifest=folder / "pairs.jsonl",
        output_dir=folder / name,
        name="pairs",
        image_column="image",
        caption_column="caption",
        validation_fraction=0.2,
        test_fraction=0.0,
        options=BuildOptions(
            num_shards=2,
            min_side=4,
            check_images=False,
            skip_bad=True,
            overwrite=overwrite,
        ),
    )


def in_child(work, *arguments) -> int:
    """Runs a function in a child process, and returns what it ended with."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            code = work(*arguments) or 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def killed_at(call: int, *arguments) -> None:
    left = call

    def count(frame, event, argument):
        nonlocal left
        if event in ("call", "c_call"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    build(*arguments)


def num_calls(file: pathlib.Path, *arguments) -> None:
    number = 0

    def count(frame, event, argument):
        nonlocal number
        number += event in ("call", "c_call")

    sys.setprofile(count)
    build(*arguments)
    sys.setprofile(None)
    file.write_text(str(number))


def content(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def main(folder: pathlib.Path, num_kills: int) -> dict[str, int]:
    """Returns how many builds were killed, and how many went on or were whole."""
    found = dict.fromkeys(("killed", "left_something", "whole_at_the_kill"), 0)
    numbers = random.Random(0)
    # Loads all that is loaded late. It decodes nothing, so TensorFlow starts no thread.
    build(folder, "warm")
    for trial in range(num_kills):
        seconds = CHECKPOINT_SECONDS[trial % 2]
        resumable_build._CHECKPOINT_SECONDS = seconds
        overwrite = trial % 3 == 0
        place = folder / f"trial-{trial}"
        if overwrite:
            in_child(build, folder, place.name)
        if trial < 2:
            in_child(num_calls, folder / f"calls-{trial}", folder, f"whole-{trial}")
        calls = int((folder / f"calls-{trial % 2}").read_text())
        expected = content(folder / f"whole-{trial % 2}")
        code = in_child(
            killed_at, numbers.randrange(calls), folder, place.name, overwrite
        )
        if code != -signal.SIGKILL:
            continue
        found["killed"] += 1
        if (place / "pairs").exists():
            # What has the final name is whole, be it the old data or the new.
            now = content(place / "pairs")
            assert now == content(folder / f"whole-{trial % 2}" / "pairs"), trial
        found["left_something"] += bool(list(place.glob(".pairs-*/journal.jsonl")))
        if not overwrite and (place / "pairs").exists():
            found["whole_at_the_kill"] += 1
            overwrite = True
        assert in_child(build, folder, place.name, overwrite) == 0, trial
        assert content(place) == expected, trial
        assert [path.name for path in place.iterdir()] == ["pairs"], trial
    return found


if __name__ == "__main__":
    started = time.perf_counter()
    counts = main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps(counts | {"seconds": round(time.perf_counter() - started, 1)}))
