"""Builds a data directory from gettext's catalogues: a program's texts, translated."""

import gettext
import pathlib
import re
import time
from collections.abc import Iterator

from tfrecords_tools.bad_rows import BadRows, Place
from tfrecords_tools.build_options import BuildOptions
from tfrecords_tools.build_result import BuildPlan, BuildResult
from tfrecords_tools.source_record import SourceRecord
from tfrecords_tools.stable_hash import check_fractions
from tfrecords_tools.write_records import write_records

# In a catalogue this stands between a text's context and the text.
_CONTEXT = "\x04"


def build_gettext(
    *,
    folder: str | pathlib.Path,
    output_dir: str | pathlib.Path,
    name: str,
    accelerators: str = "_~",
    max_characters: int = 200,
    validation_fraction: float = 0.05,
    test_fraction: float = 0.05,
    options: BuildOptions = BuildOptions(),  # noqa: B008
) -> BuildResult | BuildPlan:
    """Writes a program's texts and their translations (schema `text_to_text`).

    Every translated program has such pairs, many thousands of them: Debian's
    libreoffice-l10n-de (MPL-2.0) has 19,000 from English to German, in
    /usr/lib/libreoffice/program/resource/de. A text that is translated in several ways
    is one record. Of plural forms the singular is taken. Texts without a letter are
    passed over. Texts that differ only in case and signs fall into the same split.

    Args:
        folder: Folder with compiled catalogues (.mo) of one language, at any depth;
            `msgfmt` compiles .po files.
        output_dir: Directory that will hold NAME/1.0.0/.
        name: Name of the dataset.
        accelerators: Signs that mark a key, as in "_Save"; where a text has one of them
            once before a letter, it is left out.
        max_characters: Longer texts, or translations, are passed over.
        validation_fraction: Share for validation.
        test_fraction: Share for test.
        options: What all sources share; see `BuildOptions`.

    Returns:
        Directory, counts by split, size and time; for a dry run, what would be
        written.

    Raises:
        ValueError: If there is no catalogue, they are of several languages, one cannot
            be read, or the dataset exists.

    References:
        - GNU gettext manual, section 10.3 (the format of .mo files).
    """
    from kmmft.data import schema

    started = time.perf_counter()
    check_fractions(validation_fraction, test_fraction)
    bad_rows = BadRows(options.skip_bad)
    return write_records(
        _records(pathlib.Path(folder), accelerators, max_characters, bad_rows),
        bad_rows,
        output_dir=output_dir,
        name=name,
        features=schema.text_to_text(),
        options=options,
        started=started,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        description="Texts of programs and their translations.",
    )


def _records(
    folder: pathlib.Path, accelerators: str, longest: int, bad_rows: BadRows
) -> list[SourceRecord]:
    targets: dict[str, dict[str, Place]] = {}
    languages: dict[str, pathlib.Path] = {}
    for path in sorted(folder.rglob("*.mo")):
        try:
            with open(path, "rb") as file:
                catalogue = gettext.GNUTranslations(file)
        except (OSError, UnicodeError, ValueError) as error:
            bad_rows.add(Place(path.name), f"It is no catalogue ({error}).")
            continue
        languages.setdefault(catalogue.info().get("language") or "unknown", path)
        for text, target in _pairs(catalogue, accelerators):
            if max(len(text), len(target)) <= longest:
                targets.setdefault(text, {}).setdefault(target, Place(path.name))
    if len(languages) > 1:
        found = ", ".join(f"{path} is {name}" for name, path in languages.items())
        raise ValueError(
            f"All catalogues must be of one language. Received: {found}; name the "
            "folder of one language."
        )
    if not targets:
        raise ValueError(
            "There must be a catalogue (.mo) with translated texts. Received: none in "
            f"{folder}; compile .po files by msgfmt."
        )
    return [
        SourceRecord(
            None,
            {"id": f"text-{number:07d}", "text": text, "targets": list(places)},
            None,
            tuple(places.values()),
            re.sub(r"[\W_]+", "", text.lower()) or text,
        )
        for number, (text, places) in enumerate(targets.items())
    ]


def _pairs(
    catalogue: gettext.GNUTranslations, accelerators: str
) -> Iterator[tuple[str, str]]:
    # Python gives no public way to list a catalogue.
    for key, target in catalogue._catalog.items():
        written, form = key if isinstance(key, tuple) else (key, 0)
        text = written.rpartition(_CONTEXT)[2]
        text, target = (_cleaned(one, accelerators) for one in (text, target))
        if not form and target and re.search(r"[^\W\d_]", text):
            yield text, target


def _cleaned(text: str, accelerators: str) -> str:
    """Without the mark of a key, and on one line."""
    for sign in accelerators:
        if text.count(sign) == 1:
            text = re.sub(rf"{re.escape(sign)}(?=\w)", "", text)
    return " ".join(text.split())
