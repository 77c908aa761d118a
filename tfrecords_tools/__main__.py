"""Command line of the data tools: `python -m tfrecords_tools COMMAND ...`."""

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Union

import tyro

from tfrecords_tools import command_help
from tfrecords_tools.exporting import export_data
from tfrecords_tools.inspection import inspect_data
from tfrecords_tools.merge import merge_data
from tfrecords_tools.preview import preview_data
from tfrecords_tools.reshard import reshard_data
from tfrecords_tools.sample import sample_data
from tfrecords_tools.sources.annotations import build_annotations
from tfrecords_tools.sources.conll import build_conll
from tfrecords_tools.sources.easy_vqa import build_easy_vqa
from tfrecords_tools.sources.easy_vqa_captions import build_easy_vqa_captions
from tfrecords_tools.sources.gettext_catalogues import build_gettext
from tfrecords_tools.sources.huggingface import build_huggingface
from tfrecords_tools.sources.image_folder import build_image_folder
from tfrecords_tools.sources.manifest import build_manifest
from tfrecords_tools.sources.open_clip_art import build_open_clip_art
from tfrecords_tools.sources.sentiment import build_sentiment
from tfrecords_tools.sources.squad import build_squad
from tfrecords_tools.sources.tfds_dataset import build_tfds
from tfrecords_tools.sources.webdataset import build_webdataset
from tfrecords_tools.verify import verify_data


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        args: Words of the command line; by default those of the process.

    Returns:
        Exit code: 0 if all is well, 1 if `verify` found faults, 2 if the input is at
        fault, 130 if interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    debug = "--debug" in words
    command = _parse([word for word in words if word != "--debug"])
    # TensorFlow is told before it is loaded: no GPU is needed, nor its greetings.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        with _log_to_stderr(), _exit_on_termination():
            result = command()
    except ValueError as error:
        if debug:
            raise
        notes = getattr(error, "__notes__", [])
        sys.stderr.write("\n".join([f"error: {error}", *notes, ""]))
        return 2
    except KeyboardInterrupt as error:
        notes = getattr(error, "__notes__", ["nothing was written"])
        sys.stderr.write(f"interrupted: {' '.join(notes)}\n")
        return 130
    except SystemExit as error:
        sys.stderr.writelines(f"{note}\n" for note in getattr(error, "__notes__", []))
        raise
    sys.stdout.write(f"{result}\n")
    return getattr(result, "exit_code", 0)


def _parse(words: Sequence[str]) -> Callable[[], Any]:
    sources = Union[  # noqa: UP007
        _subcommand("annotations", build_annotations, command_help.ANNOTATIONS),
        _subcommand("conll", build_conll, command_help.CONLL),
        _subcommand("easy_vqa", build_easy_vqa, command_help.EASY_VQA),
        _subcommand(
            "easy_vqa_captions",
            build_easy_vqa_captions,
            command_help.EASY_VQA_CAPTIONS,
        ),
        _subcommand("gettext", build_gettext, command_help.GETTEXT),
        _subcommand("huggingface", build_huggingface, command_help.HUGGINGFACE),
        _subcommand("manifest", build_manifest, command_help.MANIFEST),
        _subcommand("image_folder", build_image_folder, command_help.IMAGE_FOLDER),
        _subcommand("open_clip_art", build_open_clip_art, command_help.OPEN_CLIP_ART),
        _subcommand("sentiment", build_sentiment, command_help.SENTIMENT),
        _subcommand("squad", build_squad, command_help.SQUAD),
        _subcommand("tfds", build_tfds, command_help.TFDS),
        _subcommand("webdataset", build_webdataset, command_help.WEBDATASET),
    ]

    def build(source: Annotated[sources, tyro.conf.arg(name="")]) -> Any:
        return source

    return tyro.cli(
        Union[  # noqa: UP007
            Annotated[
                Any,
                tyro.conf.subcommand(
                    "build", constructor=build, description=command_help.BUILD
                ),
            ],
            _subcommand("export", export_data, command_help.EXPORT),
            _subcommand("inspect", inspect_data, command_help.INSPECT),
            _subcommand("merge", merge_data, command_help.MERGE),
            _subcommand("preview", preview_data, command_help.PREVIEW),
            _subcommand("reshard", reshard_data, command_help.RESHARD),
            _subcommand("sample", sample_data, command_help.SAMPLE),
            _subcommand("verify", verify_data, command_help.VERIFY),
        ],
        prog="python -m tfrecords_tools",
        description=command_help.DESCRIPTION,
        args=words,
        use_underscores=True,
        # Shared options are flags like any other; callbacks are for Python only.
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed),
    )


def _subcommand(name: str, function: Callable[..., Any], description: str) -> Any:
    @functools.wraps(function)
    def later(**arguments: Any) -> Callable[[], Any]:
        # Run outside the parser, which would print a ValueError as a wrong flag.
        return functools.partial(function, **arguments)

    return Annotated[
        Any, tyro.conf.subcommand(name, constructor=later, description=description)
    ]


class _StderrHandler(logging.Handler):
    """Asks for `sys.stderr` each time: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(f"{record.getMessage()}\n")


@contextlib.contextmanager
def _log_to_stderr() -> Iterator[None]:
    logger = logging.getLogger("tfrecords_tools")
    handler, propagate = _StderrHandler(), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate


@contextlib.contextmanager
def _exit_on_termination() -> Iterator[None]:
    """Turns SIGTERM into an exception, so that unfinished files are cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signal_number: int, frame: Any) -> None:
        raise SystemExit(128 + signal_number)

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


if __name__ == "__main__":
    sys.exit(main())
