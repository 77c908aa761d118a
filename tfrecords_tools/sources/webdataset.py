"""Builds a data directory from WebDataset's .tar shards."""

import bz2
import dataclasses
import glob
import gzip
import lzma
import pathlib
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.file_slice import FileSlice
from tfrecords_tools.image_bytes import EXTENSIONS
from tfrecords_tools.sources.annotation_formats import Rows
from tfrecords_tools.sources.class_names import sorted_class_names
from tfrecords_tools.sources.json_values import load_json
from tfrecords_tools.sources.manifest_columns import ManifestColumns
from tfrecords_tools.sources.manifest_records import manifest_records
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records


def build_webdataset(
    *,
    shards: Sequence[str],
    output_dir: str | pathlib.Path,
    name: str,
    caption: str | None = "txt",
    label: str | None = None,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes the samples of .tar shards as records.

    A sample is what files of one name hold: `000123.jpg`, `000123.txt`, ... Its name is
    the record's id. With a caption records are `image_text`; with a label `labelled`,
    where the caption, if one is given, is the text. Nothing is unpacked, but an archive
    that is compressed: that one needs room in the folder for temporary files.

    Args:
        shards: Files or patterns (`train-*.tar`), each as PATTERN or SPLIT=PATTERN.
            Without a split, samples are split by a hash of their name.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        caption: Ending of the files with captions, such as txt; json.caption for the
            value `caption` in json files. None for none.
        label: Ending of the files with labels, such as cls; json.label likewise.
        validation_fraction: Share for validation, where nothing names a split.
        test_fraction: Share for test, where nothing names a split.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If an archive cannot be read, a sample is bad, or the dataset
            exists.
    """
    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    columns = _columns(caption, label)
    bad_rows = BadRows(options.skip_bad)

    wanted = {"text" if label else "caption": caption, "label": label}
    wanted = {kind: place for kind, place in wanted.items() if place}
    with tempfile.TemporaryDirectory(prefix="unpacked-") as folder:
        slices: dict[str, FileSlice] = {}
        archives = _archives(shards, pathlib.Path(folder))
        rows = _rows(archives, wanted, slices, bad_rows)
        records = [
            dataclasses.replace(record, image=slices[record.image.name])
            for record in manifest_records(rows, pathlib.Path(), columns, bad_rows)
        ]
        labels = [record.values["label"] for record in records if label]
        return write_records(
            records,
            bad_rows,
            output_dir=output_dir,
            name=name,
            features=columns.features(sorted_class_names(labels)),
            options=options,
            started=started,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            scratch=folder,
        )


def _columns(caption: str | None, label: str | None) -> ManifestColumns:
    if not caption and not label:
        raise ValueError(
            "Samples need a caption or a label. Received: caption=None, label=None; "
            "name the ending of one."
        )
    text = {"text" if label else "caption": "text" if label else "caption"}
    return ManifestColumns(
        image="image",
        id="id",
        split="split",
        group="group",
        label="label" if label else None,
        **(text if caption else {}),
    )


def _archives(
    shards: Sequence[str], folder: pathlib.Path
) -> Iterator[tuple[str, str, pathlib.Path]]:
    """Split, name and uncompressed file of each archive."""
    found = []
    for named in shards:
        split, _, pattern = named.rpartition("=")
        files = sorted(glob.glob(pattern))
        if not files:
            raise ValueError(
                "Shards must be files or patterns, each as PATTERN or SPLIT=PATTERN. "
                f"Received: {pattern}, which matches nothing; mend the path."
            )
        found += [(split, pathlib.Path(file)) for file in files]
    for number, (split, file) in enumerate(found):
        yield split, file.name, _uncompressed(file, folder / f"{number:09d}")


def _uncompressed(archive: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """The archive, or if it is compressed, the target with what it holds."""
    with archive.open("rb") as file:
        head = file.read(6)
    kinds = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
    opened = next((kinds[magic] for magic in kinds if head.startswith(magic)), None)
    if opened is None:
        return archive
    try:
        with opened(archive) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise ValueError(
            f"Shards must be whole .tar files. Received: {archive}, which cannot be "
            f"uncompressed ({error}); fetch it again."
        ) from error
    return target


def _rows(
    archives: Iterable[tuple[str, str, pathlib.Path]],
    wanted: dict[str, str],
    slices: dict[str, FileSlice],
    bad_rows: BadRows,
) -> Rows:
    """The samples as rows whose images are keys of `slices`."""
    for split, name, archive in archives:
        for key, files in _samples(archive, name, bad_rows):
            place = Place(f"{name} sample {key}")
            image = next((files[end] for end in EXTENSIONS if end in files), None)
            if image is None:
                bad_rows.add(place, "There is no image; add one or leave it out.")
                continue
            try:
                row = {kind: _text(files, where) for kind, where in wanted.items()}
            except ValueError as error:
                bad_rows.add(place, f"Its texts cannot be read ({error}); mend them.")
                continue
            # Never a name from the archive, which may lead elsewhere.
            number = f"{len(slices):09d}"
            slices[number] = image
            named = {"split": split} if split else {}
            yield place, row | {"image": number, "id": key, "group": key} | named


def _samples(
    archive: pathlib.Path, name: str, bad_rows: BadRows
) -> Iterator[tuple[str, dict[str, FileSlice]]]:
    """Names of samples, which stand together, and their files by ending."""
    key, files, count = None, {}, 0
    try:
        with tarfile.open(archive, "r:") as opened:
            for member in opened:
                count += 1
                if member.isdir():
                    continue
                if not member.isfile() or member.issparse():
                    place = Place(f"{name} member {member.name}")
                    bad_rows.add(place, "It is a link or a device, no file; repack it.")
                    continue
                folder, slash, file = member.name.rpartition("/")
                stem, _, ending = file.partition(".")
                own = f"{folder}{slash}{stem}"
                if own != key:
                    if files:
                        yield key, files
                    key, files = own, {}
                files[ending.lower()] = FileSlice(
                    archive, member.offset_data, member.size, member.name
                )
            _check_end(opened)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(
            f"Shards must be whole .tar files. Received: {name}, which cannot be "
            f"read after {count} members ({error}); fetch it again."
        ) from error
    if files:
        yield key, files


def _check_end(archive: tarfile.TarFile) -> None:
    """An archive ends with zeros; `tarfile` takes any cut between files for its end."""
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")


def _text(files: dict[str, FileSlice], where: str) -> str | None:
    """A file's text, or a value of a JSON file; None if there is none."""
    ending, _, field = where.partition(".")
    if ending not in files:
        return None
    if not field:
        return files[ending].read_bytes().decode()
    return load_json(files[ending].read_bytes()).get(field)
