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
from tfrecords_tools.sources.easy_vqa import build_easy_vqa
from tfrecords_tools.sources.easy_vqa_captions import build_easy_vqa_captions
from tfrecords_tools.sources.huggingface import build_huggingface
from tfrecords_tools.sources.image_folder import build_image_folder
from tfrecords_tools.sources.manifest import build_manifest
from tfrecords_tools.sources.open_clip_art import build_open_clip_art
from tfrecords_tools.sources.tfds_dataset import build_tfds
from tfrecords_tools.sources.webdataset import build_webdataset
from tfrecords_tools.verify import verify_data

_DESCRIPTION = """Builds and checks data for training: TFRecord shards that TFDS opens.

examples:
  python -m tfrecords_tools build easy_vqa --output_dir data
  python -m tfrecords_tools build manifest --manifest pairs.jsonl \\
      --image_column image --caption_column caption --name pets --output_dir data
  python -m tfrecords_tools build image_folder --folder photos --name photos \\
      --output_dir data
  python -m tfrecords_tools inspect --data data/pets/1.0.0
  python -m tfrecords_tools verify --data data/pets/1.0.0

A build that was stopped or killed goes on with the same command. --dry_run, with any
source, shows what would be written.

--debug, anywhere, shows where in the program an error arose."""

_EASY_VQA = """The easy-VQA questions, from the Python package easy-vqa.

example:
  python -m tfrecords_tools build easy_vqa --output_dir data"""

_EASY_VQA_CAPTIONS = """The easy-VQA pictures, with captions such as "a blue circle".

example:
  python -m tfrecords_tools build easy_vqa_captions --output_dir data"""

_ANNOTATIONS = """Published data sets in the formats they come in, with local images.

examples:
  python -m tfrecords_tools build annotations --format coco \\
      --annotations train=captions_train2017.json validation=captions_val2017.json \\
      --images train2017 val2017 --name coco --output_dir data
  python -m tfrecords_tools build annotations --format vqa2 \\
      --annotations train=v2_mscoco_train2014_annotations.json \\
      --questions v2_OpenEnded_mscoco_train2014_questions.json \\
      --images train2014 --name vqa --output_dir data
  python -m tfrecords_tools build annotations --format karpathy \\
      --annotations dataset_flickr30k.json --images flickr30k-images \\
      --name flickr30k --output_dir data"""

_HUGGINGFACE = """Local Parquet or Arrow files of Hugging Face's `datasets`.

examples:
  python -m tfrecords_tools build huggingface --data beans/data \\
      --image_column image --label_column labels --name beans --output_dir data
  python -m tfrecords_tools build huggingface --data "train=flickr/*.parquet" \\
      --image_column image --caption_column caption --name flickr --output_dir data
  python -m tfrecords_tools build huggingface --data saved_to_disk \\
      --audio_column audio --caption_column transcription --name minds \\
      --output_dir data
  python -m tfrecords_tools build huggingface --data vqa/data --image_column image \\
      --question_column question --answer_column multiple_choice_answer \\
      --id_column question_id --name vqa --output_dir data"""

_MANIFEST = """Rows of a CSV, TSV, JSONL or Parquet file that names images or videos.

The columns given decide what a record is: image, video or audio with caption; image,
question and answer; or a label with an image or an audio, a text, or both.

examples:
  python -m tfrecords_tools build manifest --manifest pairs.jsonl \\
      --image_column image --caption_column caption --split_column split \\
      --name pets --output_dir data
  python -m tfrecords_tools build manifest --manifest pairs.jsonl \\
      --image_column image --caption_column caption --max_side 512 --reencode jpeg \\
      --min_side 64 --max_aspect_ratio 3 --min_words 3 --language en \\
      --drop_duplicate_captions --group_near_duplicates --skip_bad \\
      --shard_megabytes 150 --name pets --output_dir data
  python -m tfrecords_tools build manifest --manifest clips.csv \\
      --video_column video --caption_column caption --name clips --output_dir data
  python -m tfrecords_tools build manifest --manifest speech.tsv \\
      --audio_column file --caption_column transcript --max_seconds 30 \\
      --name speech --output_dir data
  python -m tfrecords_tools build manifest --manifest vqa.csv \\
      --image_column image --question_column question --answer_column answer \\
      --test_fraction 0.1 --name my_vqa --output_dir data
  python -m tfrecords_tools build manifest --manifest reviews.tsv \\
      --text_column review --label_column stars --name reviews --output_dir data"""

_OPEN_CLIP_ART = """The Open Clip Art drawings with their titles and tags.

They come from the Debian packages openclipart-png and openclipart-svg.

example:
  python -m tfrecords_tools build open_clip_art --output_dir data"""

_IMAGE_FOLDER = """Images in folders, with their classes, their captions, or both.

examples:
  python -m tfrecords_tools build image_folder --folder photos --name photos \\
      --output_dir data
  python -m tfrecords_tools build image_folder --folder photos --captions sidecar \\
      --name captioned --output_dir data"""

_EXPORT = """Writes the records for other libraries.

examples:
  python -m tfrecords_tools export --data data/pets --to webdataset --output_dir tars
  python -m tfrecords_tools export --data data/pets --to parquet --output_dir tables
  python -m tfrecords_tools export --data data/pets --to image_folder \\
      --output_dir files"""

_INSPECT = """What a data directory holds: counts, texts, images, labels, first records.

examples:
  python -m tfrecords_tools inspect --data data/pets/1.0.0
  python -m tfrecords_tools inspect --data data/pets/1.0.0 --json"""

_MERGE = """Makes one dataset of several with the same features.

example:
  python -m tfrecords_tools merge --data data/cats data/dogs --name pets \\
      --prefix_ids --output_dir data"""

_PREVIEW = """Shows some records on one page: pictures, texts, labels.

example:
  python -m tfrecords_tools preview --data data/pets --output pets.html"""

_RESHARD = """Writes the same records into another number of shards.

example:
  python -m tfrecords_tools reshard --data data/pets --num_shards 64 \\
      --output_dir resharded"""

_SAMPLE = """Writes some of the records, the same ones each time.

examples:
  python -m tfrecords_tools sample --data data/pets --fraction 0.01 --name few \\
      --output_dir data
  python -m tfrecords_tools sample --data data/pets --per_class 20 --splits train \\
      --name few --output_dir data"""

_TFDS = """Any dataset of TensorFlow Datasets, by directory or by name.

examples:
  python -m tfrecords_tools build tfds --data ~/tensorflow_datasets/beans/0.1.0 \\
      --image image --label label --name beans --output_dir data
  python -m tfrecords_tools build tfds --data coco_captions --image image \\
      --caption captions.text --id image/filename --name coco --output_dir data
  python -m tfrecords_tools build tfds --data mnist --image image --label label \\
      --splits "train=train[5%:]" "validation=train[:5%]" test --name digits \\
      --output_dir data"""

_WEBDATASET = """WebDataset's .tar shards of images with captions or labels.

examples:
  python -m tfrecords_tools build webdataset --shards "train=cc3m-train-*.tar" \\
      --name cc3m --output_dir data
  python -m tfrecords_tools build webdataset --shards "shapes-*.tar" --caption None \\
      --label cls --name shapes --output_dir data"""

_VERIFY = """Checks every record of a data directory, and mends what can be mended.

examples:
  python -m tfrecords_tools verify --data data/pets/1.0.0
  python -m tfrecords_tools verify --data data/pets/1.0.0 --repair"""


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
        _subcommand("easy_vqa", build_easy_vqa, command_help.EASY_VQA),
        _subcommand("huggingface", build_huggingface, command_help.HUGGINGFACE),
        _subcommand("manifest", build_manifest, command_help.MANIFEST),
        _subcommand("image_folder", build_image_folder, command_help.IMAGE_FOLDER),
        _subcommand("open_clip_art", build_open_clip_art, command_help.OPEN_CLIP_ART),
        _subcommand("tfds", build_tfds, command_help.TFDS),
        _subcommand("webdataset", build_webdataset, command_help.WEBDATASET),
        _subcommand("annotations", build_annotations, _ANNOTATIONS),
        _subcommand("easy_vqa", build_easy_vqa, _EASY_VQA),
        _subcommand("huggingface", build_huggingface, _HUGGINGFACE),
        _subcommand("easy_vqa_captions", build_easy_vqa_captions, _EASY_VQA_CAPTIONS),
        _subcommand("manifest", build_manifest, _MANIFEST),
        _subcommand("image_folder", build_image_folder, _IMAGE_FOLDER),
        _subcommand("open_clip_art", build_open_clip_art, _OPEN_CLIP_ART),
        _subcommand("tfds", build_tfds, _TFDS),
        _subcommand("webdataset", build_webdataset, _WEBDATASET),
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
