"""The chart of accuracies between two sets of weights."""

import re

import pytest

from kmmft.evaluation import interpolation_section

ROWS = [
    {"alpha": n / 4, "target": 0.5 + n / 10, "kept": 0.9 - n / 20, "chosen": n == 3}
    for n in range(5)
]


def test_it_says_what_was_chosen():
    section = interpolation_section(ROWS, "target", "kept", "Old & <new>")
    assert "<h2>Old &amp; &lt;new&gt;</h2>" in section
    assert "Target is 80.0% at alpha 0.75, 50.0% at 0 and 90.0% at 1." in section
    assert "Kept is 75.0% at alpha 0.75, 90.0% at 0 and 70.0% at 1." in section


def test_ends_and_choice_are_labelled_and_in_the_colours_of_the_page():
    section = interpolation_section(ROWS, "target", "kept", "Both")
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", section)
    assert {"alpha 0", "alpha 0.75", "alpha 1"} <= set(labels)
    assert "alpha 0.5" not in labels
    assert "var(--accent)" in section and "#0101" not in section
    assert section == interpolation_section(ROWS, "target", "kept", "Both")


@pytest.mark.parametrize(("rows", "match"), [([], "no row"), (ROWS, "without .'lost'")])
def test_rows_must_have_the_measures(rows, match):
    with pytest.raises(ValueError, match=match):
        interpolation_section(rows, "target", "lost", "Both")
