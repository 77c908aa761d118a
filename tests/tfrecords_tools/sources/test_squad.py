import copy
import json

import pytest

from kmmft.data import first_records
from tfrecords_tools import BuildOptions, build_squad

CONTEXT = "Zoë 日本 lives in Köln."
QUESTIONS = [
    {
        "id": "a",
        "question": "Where does Zoë live?",
        "answers": [
            {"text": "Köln", "answer_start": 16},
            {"text": "in Köln", "answer_start": 13},
        ],
        "is_impossible": False,
    },
    {
        "id": "b",
        "question": "Why?",
        "answers": [],
        "plausible_answers": [{"text": "Zoë", "answer_start": 0}],
        "is_impossible": True,
    },
]


def build(folder, questions=QUESTIONS, **options):
    path = folder / "squad.json"
    paragraph = {"context": CONTEXT, "qas": questions}
    article = {"title": "Zoë", "paragraphs": [paragraph]}
    path.write_text(json.dumps({"version": "v2.0", "data": [article]}))
    return build_squad(
        files=[f"train={path}"], output_dir=folder, name="squad", **options
    )


def test_questions(tmp_path):
    result = build(tmp_path)
    records = {one["id"]: one for one in first_records(result.directory, "train", 9)}
    assert [x.decode() for x in records["a"]["answers"]] == ["Köln", "in Köln"]
    assert [
        records["a"]["context"][start : start + 4]
        for start in records["a"]["answer_starts"]
    ] == ["Köln", "in K"]
    assert records["a"]["title"] == "Zoë" and records["a"]["context"] == CONTEXT
    assert list(records["b"]["answers"]) == list(records["b"]["answer_starts"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda q: q["answers"][0].update(answer_start=15),
            r"squad\.json question 'a': The answer 'Köln' does not stand at "
            r"`answer_start` 15, but ' Köl'",
        ),
        (lambda q: q["answers"][0].pop("text"), "has no `text`"),
        (lambda q: q["answers"][0].update(text=" ", answer_start=3), "has no `text`"),
        (
            # As Python counts, it stands there.
            lambda q: q["answers"][0].update(answer_start=-5),
            r"'Köln' does not stand at `answer_start` -5",
        ),
        (
            lambda q: q["answers"][0].update(text="Zoë", answer_start=-1),
            r"'Zoë' does not stand at `answer_start` -1",
        ),
        (lambda q: q.update(id="b"), r"question 'b': The id is in squad\.json too"),
        (lambda q: q.pop("question"), "no `question`"),
        (lambda q: (q.pop("answers"), q.pop("is_impossible")), "has no `answers`"),
    ],
)
def test_bad_questions(tmp_path, change, message):
    questions = copy.deepcopy(QUESTIONS)
    change(questions[0])
    with pytest.raises(ValueError, match=message):
        build(tmp_path, questions)
    result = build(tmp_path, questions, options=BuildOptions(skip_bad=True))
    assert result.num_records == {"train": 1} and result.num_skipped == 1


@pytest.mark.parametrize("text", ['{"data": [{"title": "a"}]}', "[]", "no JSON"])
def test_files_of_another_format(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"of SQuAD's format.*other\.json"):
        build_squad(files=[str(path)], output_dir=tmp_path, name="squad")
