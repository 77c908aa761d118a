"""The tables that `inspect` shows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN_CLASSES = 20
_BLOCKS = " ▁▂▃▄▅▆▇█"


def tables_of(
    features: Mapping[str, str],
    splits: Mapping[str, Mapping[str, Any]],
    first_records: list[dict[str, str]],
) -> list["Table"]:
    """What `InspectResult` holds, for people to read.

    Args:
        features: Kind of each feature.
        splits: What is in each split.
        first_records: The first records, as texts.

    Returns:
        Tables, without those that would be empty.
    """
    tables = [_overview(features, splits)]
    for make in (_texts, _images, _sounds, _labels, _words):
        table = make(splits)
        if table.row_count:
            tables.append(table)
    return [*tables, _first(first_records)]


def _table(title: str, *columns: str) -> "Table":
    from rich import box, table

    found = table.Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        found.add_column(column, justify="left" if index == 0 else "right")
    return found


def _overview(features: Mapping[str, str], splits: Mapping[str, Mapping]) -> "Table":
    kinds = ", ".join(f"{name} ({kind})" for name, kind in features.items())
    table = _table(f"Features: {kinds}", "split", "records", "shards", "MB", "broken")
    for name, split in splits.items():
        table.add_row(
            name,
            f"{split['records']:,}",
            str(split["shards"]),
            f"{split['bytes'] / 1e6:,.1f}",
            str(split["unreadable_records"]),
        )
    return table


def _texts(splits: Mapping[str, Mapping]) -> "Table":
    columns = ("words, median", "95%", "max", "characters", "repeated", "empty")
    table = _table("Texts", "split, feature", "texts", *columns, "words")
    table.columns[-1].no_wrap = True
    for split, values in splits.items():
        for name, texts in values["texts"].items():
            words, characters = texts["words"], texts["characters"]
            if words:
                table.add_row(
                    f"{split} {name}",
                    f"{texts['count']:,}",
                    *(f"{words[point]:,.0f}" for point in ("median", "95%", "max")),
                    f"{characters['median']:,.0f}",
                    f"{texts['repeated']:,}",
                    f"{texts['empty']:,}",
                    spark(words["histogram"]),
                )
    return table


def _images(splits: Mapping[str, Mapping]) -> "Table":
    columns = ("width", "height", "kB, median", "unreadable", "aspect ratio")
    table = _table("Images (median, smallest-largest)", "split, feature", *columns)
    table.columns[-1].no_wrap = True
    table.add_column("formats")
    for split, values in splits.items():
        for name, images in values["images"].items():
            if images["width"]:
                kinds = images["formats"] | {"missing": images["missing"]}
                table.add_row(
                    f"{split} {name}",
                    _range(images["width"]),
                    _range(images["height"]),
                    f"{images['bytes']['median'] / 1e3:,.1f}",
                    f"{images['unreadable']:,}",
                    spark(images["aspect_ratio"]["histogram"]),
                    ", ".join(f"{n:,} {kind}" for kind, n in kinds.items() if n),
                )
    return table


def _sounds(splits: Mapping[str, Mapping]) -> "Table":
    columns = ("seconds", "hours", "kB, median", "Hz", "seconds")
    table = _table("Sounds (median, smallest-largest)", "split, feature", *columns)
    table.columns[-1].no_wrap = True
    table.add_column("formats")
    for split, values in splits.items():
        for name, sounds in values["sounds"].items():
            if sounds["seconds"]:
                seconds = sounds["seconds"]
                span = f"{seconds['min']:,.1f}-{seconds['max']:,.1f}"
                table.add_row(
                    f"{split} {name}",
                    f"{seconds['median']:,.1f} ({span})",
                    f"{sounds['hours']:,.2f}",
                    f"{sounds['bytes']['median'] / 1e3:,.1f}",
                    ", ".join(f"{rate} ({n:,})" for rate, n in sounds["rates"].items()),
                    spark(seconds["histogram"]),
                    ", ".join(f"{n:,} {kind}" for kind, n in sounds["formats"].items()),
                )
    return table


def _labels(splits: Mapping[str, Mapping]) -> "Table":
    table = _table("Labels", "split, feature", "classes", "balance", "unlabelled")
    table.add_column("records by class")
    for split, values in splits.items():
        for name, labels in values["labels"].items():
            counts = [f"{key} {n:,}" for key, n in labels["counts"].items()]
            more = ["..."] if len(counts) > _SHOWN_CLASSES else []
            table.add_row(
                f"{split} {name}",
                str(len(counts)),
                f"{labels['balance']:.2f}",
                f"{labels['unlabelled']:,}",
                ", ".join(counts[:_SHOWN_CLASSES] + more),
            )
    return table


def _words(splits: Mapping[str, Mapping]) -> "Table":
    table = _table("Most frequent words", "split, feature")
    table.add_column("scripts")
    table.add_column("words")
    for split, values in splits.items():
        for name, texts in values["texts"].items():
            scripts = (f"{key} {share:.0%}" for key, share in texts["scripts"].items())
            words = (f"{word} {count:,}" for word, count in texts["top_words"].items())
            table.add_row(f"{split} {name}", ", ".join(scripts), ", ".join(words))
    return table


def _first(records: list[dict[str, str]]) -> "Table":
    table = _table("First records", "feature")
    table.columns[0].no_wrap = True
    table.add_column("value")
    for record in records:
        for name, value in record.items():
            table.add_row(name, value, end_section=name == list(record)[-1])
    return table


def _range(values: Mapping[str, float]) -> str:
    return f"{values['median']:,.0f} ({values['min']:,.0f}-{values['max']:,.0f})"


def spark(counts: list[int]) -> str:
    """A histogram in one line of text.

    Example:
        >>> spark([0, 1, 4, 8])
        ' ▁▄█'
    """
    highest = max([*counts, 1])
    # What is there at all is seen.
    return "".join(_BLOCKS[-(-count * 8 // highest)] for count in counts)
