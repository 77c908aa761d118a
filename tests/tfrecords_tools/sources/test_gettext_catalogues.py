import struct

import pytest

from kmmft.data import first_records
from tfrecords_tools import build_gettext


def write_catalogue(path, pairs, language="de"):
    """A .mo file by the letter of gettext's manual: sorted texts, then their places."""
    header = f"Content-Type: text/plain; charset=UTF-8\nLanguage: {language}\n"
    pairs = {"": header + "Plural-Forms: nplurals=2; plural=(n != 1);\n", **pairs}
    texts = sorted((a.encode(), b.encode()) for a, b in pairs.items())
    count, tables, strings = len(texts), [], b""
    start = 28 + 16 * count
    for column in (0, 1):
        for row in texts:
            tables.append((len(row[column]), start + len(strings)))
            strings += row[column] + b"\0"
    data = struct.pack("<7I", 0x950412DE, 0, count, 28, 28 + 8 * count, 0, 0)
    data += b"".join(struct.pack("<2I", *entry) for entry in tables)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data + strings)


def build(folder, **options):
    return build_gettext(
        folder=folder,
        output_dir=folder,
        name="pairs",
        **{"validation_fraction": 0.0, "test_fraction": 0.0, **options},
    )


def read(result, split="train"):
    return {
        record["text"]: [text.decode() for text in record["targets"]]
        for record in first_records(result.directory, split, 99)
    }


def test_texts_of_several_catalogues(tmp_path):
    write_catalogue(
        tmp_path / "de/LC_MESSAGES/sw.mo",
        {
            "menu\x04_Open": "Ö_ffnen",
            "state\x04Open": "Offen",
            "%d file\0%d files": "%d Datei\0%d Dateien",
            "No translation": "",
            "100 %": "100 %",
            "snake_case_name": "ein_langer_name",
            "Two\nlines": "Zwei\nZeilen",
        },
    )
    write_catalogue(tmp_path / "de/LC_MESSAGES/sc.mo", {"~Save": "~Speichern"})
    assert read(build(tmp_path)) == {
        "Open": ["Öffnen", "Offen"],
        "%d file": ["%d Datei"],
        "snake_case_name": ["ein_langer_name"],
        "Two lines": ["Zwei Zeilen"],
        "Save": ["Speichern"],
    }


def test_long_texts_are_passed_over(tmp_path):
    write_catalogue(tmp_path / "a.mo", {"Open": "Öffnen", "Save": "x" * 40})
    assert list(read(build(tmp_path, max_characters=39))) == ["Open"]


def test_texts_that_differ_in_signs_stay_together(tmp_path):
    words = [f"word{number}" for number in range(40)]
    write_catalogue(
        tmp_path / "a.mo",
        {**{word: "a" for word in words}, **{f"{w.title()}...": "b" for w in words}},
    )
    result = build(tmp_path, test_fraction=0.5)
    test = {text.lower().strip(".") for text in read(result, "test")}
    train = {text.lower().strip(".") for text in read(result)}
    assert len(test) > 5 and len(train) > 5 and not test & train


def test_nothing_to_read(tmp_path):
    with pytest.raises(ValueError, match=r"must be a catalogue \(\.mo\)"):
        build(tmp_path)
    (tmp_path / "broken.mo").write_bytes(b"not a catalogue")
    with pytest.raises(ValueError, match=r"broken\.mo: It is no catalogue"):
        build(tmp_path)


def test_several_languages(tmp_path):
    write_catalogue(tmp_path / "de.mo", {"Open": "Öffnen"})
    write_catalogue(tmp_path / "fr.mo", {"Open": "Ouvrir"}, "fr")
    with pytest.raises(
        ValueError, match=r"of one language.*de\.mo is de.*fr\.mo is fr"
    ):
        build(tmp_path)
