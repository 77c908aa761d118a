import html.parser
import re

import numpy as np
import pytest
import tensorflow as tf

from kmmft.evaluation import Hit, SearchResult, write_search_page


class Page(html.parser.HTMLParser):
    """Elements that must be closed, and are not, and all the page's attributes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def png(value, side=8):
    return tf.io.encode_png(np.full((side, side, 3), value, np.uint8)).numpy()


HITS = [
    Hit("a", 0.91234, {"caption": "<b>bold & red</b>"}),
    Hit("b", 0.5, {}),
    Hit("c", -0.25, {"caption": "no picture"}),
]


def test_page(tmp_path):
    results = [
        SearchResult('red "dot" <i>', HITS, expected=["b"]),
        SearchResult(png(9), HITS[:1]),
    ]
    images = {"a": png(200), "b": np.zeros((300, 400, 3)), "unused": b"no image"}
    path = write_search_page(
        tmp_path / "deep/page.html", results, images, title="What <is> found"
    )
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "<b>" not in text and "<i>" not in text
    for words in ("What <is> found", 'red "dot" <i>', "<b>bold & red</b>", "0.912"):
        assert words in page.words, words
    assert "-0.250" in page.words
    # The first hit comes twice, the question and the second hit once each.
    sources = [attributes["src"] for tag, attributes in page.attributes if tag == "img"]
    assert len(sources) == 4 and len(set(sources)) == 3
    assert all(source.startswith("data:image/") for source in sources)
    marked = [a for tag, a in page.attributes if tag == "li" and a.get("class")]
    assert len(marked) == 1
    # Nothing is loaded from elsewhere.
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "@import" not in text
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["page.html"]


def test_pictures_come_out_as_they_went_in(tmp_path):
    path = write_search_page(
        tmp_path / "page.html", [SearchResult("x", HITS[:1])], {"a": png(77)}
    )
    encoded = re.search(r"base64,([^\"]+)", path.read_text())[1]
    url_safe = encoded.replace("+", "-").replace("/", "_").rstrip("=")
    pixels = tf.io.decode_image(tf.io.decode_base64(url_safe))
    np.testing.assert_array_equal(pixels, np.full((8, 8, 3), 77))


def test_nothing_to_show(tmp_path):
    with pytest.raises(ValueError, match="needs a result"):
        write_search_page(tmp_path / "page.html", [], {})


def test_an_image_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="8 bytes that begin with b'no image'"):
        write_search_page(
            tmp_path / "page.html", [SearchResult("x", HITS)], {"a": b"no image"}
        )
    assert not (tmp_path / "page.html").exists()
