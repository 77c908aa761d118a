"""What an error on a bad row advises, `--skip_bad`, is there in every recipe."""

import dataclasses
import importlib
import pathlib

import pytest

import kmmft
import tfrecords_tools
from recipes import active_learning, recommendation
from recipes.labelling import manifest, rounds
from recipes.multimodal.illustrated_sounds import write_illustrated_sounds
from recipes.recommending import histories
from recipes.texts import answering, classifying, tagging, writing
from recipes.texts.settings import TASKS
from recipes.texts.settings import Config as TextConfig

PARTS = {"tag": tagging, "answer": answering, "write": writing}
BUILDS = ("build_manifest", "build_conll", "build_squad", "build_open_clip_art")


class Built(Exception):
    """Ends a recipe where it builds records."""


@pytest.fixture
def built(monkeypatch):
    """The options of a build that is not done."""
    found = []

    def build(**arguments):
        found.append(arguments["options"])
        raise Built

    for name in BUILDS:
        monkeypatch.setattr(tfrecords_tools, name, build)
    return found


def text_task(task):
    config = TextConfig(task=task, files="some.csv", label_column="label")
    return pytest.param(PARTS.get(task, classifying).open_data, config, id=task)


def recipe(name, **options):
    module = importlib.import_module(f"recipes.{name}")
    open_data = getattr(module, "open_data", None) or module.open_pairs
    return pytest.param(open_data, module.Config(**options), id=name)


@pytest.mark.parametrize(
    ("open_data", "config"),
    [
        *map(text_task, TASKS),
        recipe("audio_classification", manifest="some.csv"),
        recipe("audio_text", manifest="some.csv"),
        recipe("video_text", manifest="some.csv"),
        recipe("contrastive", manifest="some.csv"),
        recipe("captioning", manifest="open_clip_art"),
        recipe("multimodal_classification", csv="some.csv"),
        recipe("zero_shot", manifest="some.csv"),
        pytest.param(
            recommendation.open_items,
            recommendation.Config(manifest="some.csv", histories="other.csv"),
            id="recommendation",
        ),
    ],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_recipes_that_build_pass_it_on(open_data, config, skip_bad, built, tmp_path):
    config = dataclasses.replace(config, output_dir=str(tmp_path), skip_bad=skip_bad)
    with pytest.raises(Built):
        open_data(config)
    assert built[0].skip_bad is skip_bad


def test_bad_rows_of_a_recipe_are_left_out_by_the_advice(tmp_path):
    table = tmp_path / "table.csv"
    rows = [f"text,x,{split}" for split in ("train", "validation", "test")]
    table.write_text("\n".join(["text,label,split", *rows, "more,,train"]))
    config = TextConfig(
        files=str(table), split_column="split", output_dir=str(tmp_path)
    )
    with pytest.raises(ValueError, match=r"table.csv line 5: .* empty.*\(--skip_bad\)"):
        classifying.open_data(config)
    source = classifying.open_data(dataclasses.replace(config, skip_bad=True))
    assert source.splits["train"].num_records == 1


def test_a_run_that_stopped_at_a_bad_row_goes_on_without_it(tmp_path):
    config = kmmft.training.RecipeConfig()
    with kmmft.training.RunDirectory(tmp_path, config):
        (tmp_path / "data").mkdir()
    config = dataclasses.replace(config, skip_bad=True)
    with kmmft.training.RunDirectory(tmp_path, config) as run:
        assert run.config["skip_bad"]


def test_histories_without_the_rows_of_unknown_items(tmp_path):
    file = tmp_path / "orders.csv"
    rows = ["ann,cup", "ann,cap", "ann,", "ann,hat", "ann,pen", "ann,owl"]
    file.write_text("\n".join(["user,item", *rows]))
    ids = ["cup", "hat", "pen", "owl"]
    with pytest.raises(ValueError, match=r"line 3: Every item.*'cap'.*--skip_bad"):
        histories.read_histories(str(file), ids)
    read = histories.read_histories(str(file), ids, skip_bad=True)
    assert read.items[0].tolist() == [0, 1, 2, 3]


def test_illustrated_sounds_without_empty_cells(tmp_path):
    table = tmp_path / "sounds.csv"
    table.write_text("audio,label\na.wav,x\nb.wav,y\nc.wav,\n")
    with pytest.raises(ValueError, match=r"line 4: .*empty.*--skip_bad"):
        write_illustrated_sounds(str(table), tmp_path / "made")
    made = write_illustrated_sounds(str(table), tmp_path / "made", skip_bad=True)
    assert len(pathlib.Path(made).read_text().splitlines()) == 3


def test_rows_and_rounds_to_label_without_bad_ones(tmp_path):
    table = tmp_path / "texts.jsonl"
    table.write_text(
        '{"id": "a", "text": "a", "label": ["x"]}\n'
        '{"id": "b", "text": "b", "label": null}\n'
        '{"id": "b", "text": "c", "label": "y"}\n'
        '{"id": null, "text": "d", "label": "y"}\n'
    )
    config = active_learning.Config(csv=str(table), id_column="id", image_column="")
    with pytest.raises(ValueError, match=r"line 1: .*holds a list.*--skip_bad"):
        manifest.read_manifest(config)
    rows = manifest.read_manifest(dataclasses.replace(config, skip_bad=True))
    assert rows == [{"id": "b", "text": "b", "label": ""}]
    (tmp_path / "round_001.csv").write_text("id,label\na,x\nb,y,z\n")
    with pytest.raises(ValueError, match=r"line 3: .*3 fields.*--skip_bad"):
        rounds.read_rounds(tmp_path, {"a", "b"})
    found = rounds.read_rounds(tmp_path, {"a", "b"}, skip_bad=True)
    assert found.label_of == {"a": "x"} and found.offered == {"a"}
