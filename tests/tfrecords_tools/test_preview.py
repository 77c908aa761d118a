import base64
import html.parser
import io
import json

import PIL.Image
import pytest

from kmmft.data import schema
from tfrecords_tools import DatasetWriter, preview_data
from tfrecords_tools.__main__ import main


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def picture(address):
    kind, _, encoded = address.partition(",")
    assert kind == "data:image/webp;base64"
    return PIL.Image.open(io.BytesIO(base64.b64decode(encoded)))


@pytest.fixture(scope="module")
def pets(tmp_path_factory, encoded_image):
    folder = tmp_path_factory.mktemp("pets")
    features = schema.labelled(class_names=["cat", 'say "dog"'])
    with DatasetWriter(folder, "pets", features) as writer:
        for number in range(9):
            record = {"id": f"id-{number}", "image": encoded_image(number)}
            record |= {"text": "<script>alert(1)</script>", "label": number % 2}
            writer.write("train" if number < 7 else "test", record)
        writer.write("test", record | {"id": "bad", "image": b"\xff\xd8\xff bad"})
    return writer.directory


def test_page_shows_some_of_each_split(pets, tmp_path):
    result = preview_data(data=pets, output=tmp_path / "a.html", per_split=4)
    assert result.num_records == {"train": 4, "test": 3}
    page = Page(result.page)
    cards = page.all("article")
    assert [card["data-split"] for card in cards] == ["train"] * 4 + ["test"] * 3
    labels = [json.loads(card["data-labels"]) for card in cards]
    assert {label for (label,) in labels} == {"cat", 'say "dog"'}
    images = page.all("img")
    assert len(images) == 6
    assert all(picture(image["src"]).size == (8, 6) for image in images)
    assert any("image cannot be decoded" in text for text in page.texts)
    # Captions are texts of the page, not parts of it.
    assert len(page.all("script")) == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in result.page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_seeds_draw_other_records(pets, tmp_path):
    def ids(seed):
        output = tmp_path / "page.html"
        preview_data(data=pets, output=output, per_split=3, seed=seed)
        return [image["alt"] for image in Page(output).all("img")]

    assert ids(0) == ids(0)
    assert len({tuple(ids(seed)) for seed in range(5)}) > 1


def test_large_images_and_clips(tmp_path):
    def jpeg(level, size):
        stream = io.BytesIO()
        PIL.Image.new("L", size, level).save(stream, "JPEG")
        return stream.getvalue()

    with DatasetWriter(tmp_path, "clips", schema.video_text()) as writer:
        frames = [jpeg(30 * level, (1600, 400)) for level in range(3)]
        writer.write("train", {"id": "a", "video": frames, "captions": ["x", "y"]})
    result = preview_data(data=tmp_path / "clips", output=tmp_path / "page.html")
    page = Page(result.page)
    (image,) = page.all("img")
    shown = picture(image["src"])
    assert shown.size == (200, 50) and shown.n_frames == 3
    assert len(page.all("li")) == 2


def test_command_line(pets, tmp_path, capsys):
    words = ["preview", "--data", str(pets), "--output", str(tmp_path / "p.html")]
    assert main(words) == 0
    assert "train 7, test 3 records" in capsys.readouterr().out
    assert main([*words, "--per_split", "0"]) == 2
    assert "per_split=0" in capsys.readouterr().err
