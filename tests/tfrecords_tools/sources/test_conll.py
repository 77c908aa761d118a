import pytest

from kmmft.data import first_records
from tfrecords_tools import BuildOptions, build_conll

TEXT = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""


def build(folder, text=TEXT, split="train=", **options):
    path = folder / "eng.txt"
    path.write_text(text)
    return build_conll(
        files=[f"{split}{path}"],
        output_dir=folder,
        name="conll",
        validation_fraction=0.0,
        test_fraction=0.0,
        **options,
    )


def read(result, split="train"):
    records = first_records(result.directory, split, 9)
    return {
        tuple(word.decode() for word in record["words"]): [
            int(tag) for tag in record["tags"]
        ]
        for record in records
    }


def test_sentences(tmp_path):
    result = build(tmp_path, split="dev=")
    assert read(result, "validation") == {("EU", "rejects"): [1, 0], PETER: [2, 3]}


PETER = ("Peter", "Blackburn")


def test_any_tags_of_numbered_words_with_comments(tmp_path):
    text = "# text = vámonos\n1-2\tvámonos\t_\t_\n1\tvamos\tX\tVERB\n2\tnos\tX\tPRON\n"
    result = build(
        tmp_path, text, word_column=1, tag_column=3, scheme="any", comments=True
    )
    assert read(result) == {("vamos", "nos"): [1, 0]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lonely", r"eng\.txt line 9: 'lonely' has no word in column 0 or no tag"),
        ("word NN", r"eng\.txt line 9: 'NN' is no tag of an entity"),
        ("two words\tO", "The word 'two words' holds white space"),
    ],
)
def test_bad_lines(tmp_path, line, message):
    text = f"{TEXT}\n{line}\ngood O\n\nright O\n"
    with pytest.raises(ValueError, match=message):
        build(tmp_path, text)
    result = build(tmp_path, text, options=BuildOptions(skip_bad=True))
    assert set(read(result)) == {("EU", "rejects"), PETER, ("right",)}


def test_bad_files(tmp_path):
    with pytest.raises(ValueError, match="SPLIT=FILE or FILE"):
        build_conll(files=["train=none.txt"], output_dir=tmp_path, name="x")
    build(tmp_path)
    file = tmp_path / "eng.txt"
    with pytest.raises(ValueError, match=r"once, .*train=.* and test="):
        build_conll(
            files=[f"train={file}", f"test={file}"], output_dir=tmp_path, name="x"
        )
    with pytest.raises(ValueError, match="There must be tagged words"):
        build(tmp_path, "a O\n")
    with pytest.raises(ValueError, match="must stand in two columns"):
        build(tmp_path, word_column=1, tag_column=1)
    with pytest.raises(ValueError, match=r"line 1: 'B-X O' has .* column, 1 and -1;"):
        build(tmp_path, "B-X O\n", word_column=1)
    (tmp_path / "eng.txt").write_bytes(b"caf\xe9 O\n")
    with pytest.raises(ValueError, match=r"UTF-8. Received: .*eng\.txt"):
        build_conll(files=[str(tmp_path / "eng.txt")], output_dir=tmp_path, name="x")
