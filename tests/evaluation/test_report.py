"""The page: all that is given is on it, nothing is loaded, nothing is run."""

import base64
import html.parser
import importlib.resources
import os
import re

import numpy as np
import pytest
import tensorflow as tf

import kmmft
from kmmft.evaluation import Confusion, Example, Table, report_figures, report_text

HOSTILE = "<script>alert('x')</script>"
PNG = tf.io.encode_png(np.zeros((4, 6, 3), np.uint8)).numpy()
METRICS = {
    "test/accuracy": 0.967,
    "test/accuracy_low": 0.963,
    "test/accuracy_high": 0.9702,
    "test/macro_f1": 0.968,
    "test/accuracy/yes_no": 0.9651,
    "test/accuracy_low/yes_no": 0.961,
    "test/accuracy_high/yes_no": 0.9689,
    "test/examples/yes_no": 7136,
    "train/seconds": 193.4,
    "peak_memory_mb": 2310.5,
}


class Page(html.parser.HTMLParser):
    """Collects the page's elements, the text of its list items, and its ids."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.pictures, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag == "li" and "picture" in attributes.get("class", ""):
            self.pictures.append([attributes["class"]])

    def handle_data(self, data):
        if self.pictures and data.strip():
            self.pictures[-1].append(data.strip())


def written(tmp_path, **changes):
    content = {
        "title": "A run",
        "metrics": METRICS,
        "history": {
            "loss": [2.0, 1.0, 0.5],
            "val_loss": [2.1, 0.9, 1.2],
            "accuracy": [0.3, 0.6, 0.9],
            "learning_rate": [1e-3, 5e-4, 1e-4],
        },
        "examples": [
            Example(PNG, "right one", "red", "red", 0.9, "id-a"),
            Example(PNG, "unsure mistake", "red", "teal", 0.4, "id-b"),
            Example(PNG, "sure mistake", "yes", "no", 0.8, "id-c"),
        ],
        "confusion": Confusion(np.array([[90, 10], [0, 7]]), ["no", "yes"]),
        "config": {"learning_rate": 0.0003, "fusion": {"num_heads": 4}, "data": None},
        "tables": [
            Table("Floors", ["Method", "Accuracy"], [["Majority", 0.373]], note="Note.")
        ],
        "notes": "What was tried.",
    }
    path = kmmft.evaluation.write_report(
        tmp_path / "report.html", **(content | changes)
    )
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize(
    "shown",
    [
        "<h1>A run</h1>",
        "What was tried.",
        "96.7 %",
        "interval 96.3 to 97.0 %",
        "3 min 13 s",
        "2.26 GB",
        "37.3 %",
        "yes no",
        "96.1 to 96.9 %",
        "7,136",
        "3 examples, 2 of them answered wrongly",
        "10.0 %",
        "fusion.num_heads",
        "0.0003",
        "keras_hub",
        "cpu_cores",
        "memory_gb",
        tf.__version__,
        "Loss by epoch; last: training 0.5, validation 1.2",
    ],
)
def test_shows(text, shown):
    assert shown in text


def test_loads_and_runs_nothing(text):
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    addresses = [
        attributes[key]
        for _, attributes in page.tags
        for key in ("src", "href", "xlink:href", "srcset", "data", "action")
        if key in attributes
    ]
    assert addresses and all(a.startswith(("data:", "#")) for a in addresses)
    assert not re.search(r"@import|url\((?!#)|javascript:", text)


def test_page_is_well_formed(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(a.get("alt") for tag, a in page.tags if tag == "img")
    targets = re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text)
    assert targets and set(targets) <= set(page.ids)


def test_mistakes_come_first_and_are_marked(text):
    pictures = Page(text).pictures
    assert [p[0] for p in pictures] == [
        "picture wrong",
        "picture wrong",
        "picture right",
    ]
    assert [p[1] for p in pictures] == ["✗ wrong", "✗ wrong", "✓ right"]
    assert [p[2] for p in pictures] == ["id-c", "id-b", "id-a"]


def test_everything_is_escaped(tmp_path):
    text = written(
        tmp_path,
        title=HOSTILE,
        notes=HOSTILE,
        metrics={HOSTILE: 0.5, f"accuracy/{HOSTILE}": 0.5},
        history={HOSTILE: [1.0, 2.0]},
        examples=[Example(PNG, HOSTILE, HOSTILE, HOSTILE + "!", 0.5, f'"{HOSTILE}')],
        confusion=Confusion(np.array([[0, 1], [0, 1]]), [HOSTILE, f'" {HOSTILE}']),
        config={HOSTILE: {HOSTILE: HOSTILE}, "list": [HOSTILE]},
        tables=[Table(HOSTILE, [HOSTILE], [[HOSTILE]], note=HOSTILE)],
    )
    assert "script" not in {tag for tag, _ in Page(text).tags}
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;") >= 15


def test_written_whole_or_not_at_all(tmp_path):
    written(tmp_path)
    before = (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="must be PNG, JPEG"):
        written(tmp_path, examples=[Example(b"no image", "q", "a", "a")])
    assert (tmp_path / "report.html").read_text() == before
    assert os.listdir(tmp_path) == ["report.html"]


def test_empty_sections_are_left_out(tmp_path):
    text = written(
        tmp_path, metrics={}, history={}, examples=[], confusion=None, tables=[]
    )
    for heading in ("Results", "Training", "Test examples", "Confusion"):
        assert f">{heading}</h2>" not in text
    assert ">The run</h2>" in text


def test_interrupted_training_is_drawn(tmp_path):
    text = written(
        tmp_path, history={"loss": [1.0], "val_loss": [float("nan")], "a": []}
    )
    assert "last: training 1, validation nan" in text


def test_many_classes_become_one_image(tmp_path):
    counts = np.eye(1100, dtype=int)
    counts[3, 4] = 2
    names = [f"class {i}" for i in range(1100)]
    text = written(tmp_path, confusion=Confusion(counts, names))
    assert "Confusion matrix of 1100 classes" in text
    assert "class 4" in text and "66.7 %" in text
    assert len(text) < 150_000


def test_confusion_image_is_blue_where_right_and_red_where_wrong():
    uri = report_figures.confusion_image(np.array([[3, 1], [0, 0]]))
    pixels = tf.io.decode_png(base64.b64decode(uri.split(",")[1])).numpy()
    assert pixels[0, 0, :3].tolist() == list(report_figures.BLUE)
    assert pixels[0, 1, :3].tolist() == list(report_figures.RED)
    assert pixels[..., 3].tolist() == [
        [round(255 * 0.75 ** (1 / 3)), round(255 * 0.25 ** (1 / 3))],
        [0, 0],
    ]


def decoded(uri):
    return tf.io.decode_image(base64.b64decode(uri.split(",")[1])).numpy()


def test_small_images_are_kept_and_large_ones_shrunk():
    uri, side = report_figures.image_uri(PNG)
    assert base64.b64decode(uri.split(",")[1]) == PNG and side == 6
    noise = np.random.default_rng(0).uniform(0, 255, (400, 800, 3))
    uri, side = report_figures.image_uri(noise)
    assert decoded(uri).shape == (160, 320, 3) and side == 800
    encoded = tf.io.encode_png(noise.astype("uint8")).numpy()
    assert decoded(report_figures.image_uri(encoded)[0]).shape == (160, 320, 3)


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 1), (5, 5, 3), (5, 5, 4)])
def test_pixels_of_any_depth(shape):
    pixels = np.full(shape, 99.6)
    assert decoded(report_figures.image_uri(pixels)[0]).ravel()[0] == 100


def test_a_batch_is_no_image():
    with pytest.raises(ValueError, match="one image, not a batch"):
        report_figures.image_uri(np.zeros((2, 5, 5, 3)))


def test_matplotlib_is_left_as_it_was(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    written(tmp_path)
    assert dict(matplotlib.rcParams) == before


def test_text_can_be_read_in_light_and_dark():
    css = (
        importlib.resources.files("kmmft.evaluation") / "report.html.jinja"
    ).read_text()
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    for theme in (light, dark.split("box-sizing")[0]):
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
        pairs = [
            (t, b) for t in ("ink", "muted", "accent") for b in ("page", "surface")
        ]
        pairs += [("right", "right-soft"), ("wrong", "wrong-soft")]
        pairs += [("ink", "heat-right"), ("ink", "heat-wrong"), ("ink", "picture")]
        pairs += [("right", "surface"), ("wrong", "surface"), ("muted", "picture")]
        for text, background in pairs:
            ratio = contrast(colours[text], colours[background])
            assert ratio >= 4.5, f"{text} on {background}: {ratio:.2f}"


def contrast(one, other):
    """WCAG 2.2's contrast ratio."""

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        low = parts / 12.92
        linear = np.where(parts <= 0.04045, low, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("test/accuracy", 0.5, "50.0 %"),
        ("test/accuracy", 1.0, "100.0 %"),
        ("test/accuracy", 0.99999, "99.99 %"),
        ("test/image_to_text/recall_at_1", 0.2051, "20.5 %"),
        ("learning_rate", 0.0003, "0.0003"),
        ("loss", 0.071234, "0.07123"),
        ("train/seconds", 59.94, "59.9 s"),
        ("train/seconds", 3723, "1 h 2 min"),
        ("peak_memory_mb", 512.4, "512 MB"),
        ("examples", 9673, "9,673"),
        ("train/samples_per_second", 1234.56, "1,234.6"),
        ("loss", float("nan"), "nan"),
    ],
)
def test_metric_value(name, value, shown):
    assert report_text.metric_value(name, value) == shown


def test_share_columns_need_floats_in_range():
    with pytest.raises(ValueError, match="one value per column"):
        Table("t", ["a", "b"], [["only one"]])
    with pytest.raises(ValueError, match="one row and one column per class"):
        Confusion(np.zeros((2, 3)), ["a", "b"])


def test_the_models_numbers_come_before_those_of_its_floors():
    names = report_text.headline_names(
        {"ridge/recall_at_1": 0.1, "test/recall_at_1": 0.2, "train/seconds": 3.0}
    )
    assert names == ["test/recall_at_1", "ridge/recall_at_1", "train/seconds"]
