import pytest

import kmmft
from kmmft.evaluation.drift_chart import short_names


def test_every_layer_and_number_is_drawn():
    layers = {"a/deep/stem": (0.25, 0.987), "b<&": (0.0123, None), "head": (None, 0.5)}
    section = kmmft.evaluation.drift_section(layers, "What <moved>")
    assert "What &lt;moved&gt;" in section and section.count("<svg") == 1
    for text in ("a/.../stem", "b&lt;&amp;", "head", "0.25", "0.987", "0.0123", "0.5"):
        assert text in section
    assert section.count(">not known<") == 2
    assert "The weights of a/deep/stem moved furthest: 25.00%." in section
    assert "The outputs of head changed most: CKA 0.500." in section


def test_short_names_stay_apart():
    names = ["a/x/last", "a/y/last", "b/z/last", "b/last"]
    assert short_names(names) == ["a/x/last", "a/y/last", "b/.../last", "b/last"]


def test_no_layers():
    with pytest.raises(ValueError, match="Received: none"):
        kmmft.evaluation.drift_section({}, "Nothing")
