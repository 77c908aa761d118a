"""What a question-answering set gives away without its images."""

from kmmft.data import RecordSource, parse_record, read_records
from kmmft.evaluation.classification import majority_floor, question_only_floor


def question_answer_floors(
    source: RecordSource, train: str = "train", test: str = "test"
) -> dict[str, float]:
    """Test accuracy to be had without looking at any image.

    Args:
        source: Records with `question` and `answer`.
        train: Split to learn the most frequent answers from.
        test: Split to answer.

    Returns:
        `majority`, of the most frequent answer, and `question_only`, of each
        question's most frequent answer.

    Raises:
        ValueError: If a split is absent or empty.
    """
    questions, answers = _pairs(source, train)
    test_questions, test_answers = _pairs(source, test)
    return {
        "majority": majority_floor(answers, test_answers),
        "question_only": question_only_floor(
            questions, answers, test_questions, test_answers
        ),
    }


def _pairs(source: RecordSource, split: str) -> tuple[list[str], list[str]]:
    def pair(serialized):
        record = parse_record(serialized, source.features)
        return record["question"], record["answer"]

    records = read_records(source, split, on_error="skip")
    pairs = list(records.map(pair).as_numpy_iterator())
    return (
        [question.decode(errors="replace") for question, _ in pairs],
        [answer.decode(errors="replace") for _, answer in pairs],
    )
