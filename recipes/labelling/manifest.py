"""The rows of the manifest and their records, in which labels play no part.

Labels change with every round and the records do not, so that images are read and
checked once.
"""

import csv
import hashlib
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import kmmft
import tfrecords_tools
from kmmft.training.whole_files import write_whole
from tfrecords_tools.bad_rows import BadRows
from tfrecords_tools.sources.manifest_cells import is_empty, text_cell
from tfrecords_tools.sources.manifest_rows import read_rows

from .settings import Config

Row = dict[str, str]

# Labelled records must have a label, which nobody looks at.
_NO_LABEL = "none"
_SIMULATED_TEST = 0.2


def read_manifest(config: Config) -> list[Row]:
    """Reads the file's rows as `id`, `image`, `text`, `label` and `split`.

    Raises:
        ValueError: If a column is missing, a row is bad and not to be left out, or no
            row is left.
    """
    path = pathlib.Path(config.csv)
    if config.csv == "shapes":
        folder = pathlib.Path(config.output_dir, "data/pictures")
        path = pathlib.Path(kmmft.data.write_colored_shapes(folder))
    columns = {
        name: column
        for name in ("id", "image", "text", "label", "split")
        if (column := getattr(config, f"{name}_column"))
    }
    rows, seen = [], {}
    bad_rows = BadRows(config.skip_bad)
    for place, values in read_rows(path, list(columns.values()), bad_rows):
        try:
            row = _texts(values, columns)
        except ValueError as error:
            bad_rows.add(place, str(error))
            continue
        row.setdefault("id", str(place.line))
        if row.get("image"):
            row["image"] = str(path.parent.resolve() / row["image"])
        if row["id"] in seen:
            bad_rows.add(
                place,
                f"ids must differ. Received: {row['id']!r}, which is in line "
                f"{seen[row['id']]} too. Mend one of them.",
            )
            continue
        seen[row["id"]] = place.line
        rows.append(row)
    if not rows:
        raise ValueError(f"There must be a good row. Received: none in {path}.")
    return rows


def _texts(values: Mapping[str, Any], columns: Mapping[str, str]) -> Row:
    """The cells of a row; all but the id may be empty."""
    return {
        name: ""
        if name != "id" and is_empty(values[column])
        else text_cell(values[column], column)
        for name, column in columns.items()
    }


def open_rows(config: Config, rows: list[Row]) -> kmmft.data.RecordSource:
    """Opens the rows' records, after building them if they are new or have changed."""
    names = [name for name in ("id", "image", "text", "split") if name in rows[0]]
    text = io.StringIO()
    writer = csv.DictWriter(text, [*names, "label"], extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**row, "label": _NO_LABEL} for row in rows)
    folder = pathlib.Path(config.output_dir, "data")
    # A changed manifest makes records of another name.
    digest = hashlib.sha256(text.getvalue().encode()).hexdigest()[:12]
    name = f"rows_{digest}"
    directory = folder / name / "1.0.0"
    if not directory.exists():
        tfrecords_tools.build_manifest(
            manifest=write_whole(folder / f"{name}.csv", text.getvalue()),
            output_dir=folder,
            name=name,
            id_column="id",
            label_column="label",
            image_column="image" if "image" in names else None,
            text_column="text" if "text" in names else None,
            split_column="split" if "split" in names else None,
            allow_missing="image" in names and "text" in names,
            validation_fraction=0.0,
            test_fraction=_SIMULATED_TEST if config.simulate else 0.0,
            options=tfrecords_tools.BuildOptions(skip_bad=config.skip_bad),
        )
    return kmmft.data.open_source(directory)
