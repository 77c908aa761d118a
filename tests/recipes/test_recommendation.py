import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import kmmft
import tfrecords_tools
from recipes import recommendation
from recipes.recommending import histories, testing
from recipes.recommending.data import Catalogue, read_catalogue, training_batches

SMOKE = recommendation.PRESETS["smoke"]


@pytest.mark.slow
def test_smoke_preset_finds_what_made_up_users_like(tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path))
    metrics = recommendation.main(config)
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    assert metrics["test/ndcg_at_10"] > metrics["popular/ndcg_at_10"]
    assert metrics["new_item_users"] > 10
    # 28 of the 288 pictures are new, and popularity cannot tell them apart.
    among_new = metrics["test/among_new/ndcg_at_10"]
    assert among_new > metrics["popular/among_new/ndcg_at_10"]
    assert "most popular items" in (tmp_path / "report.html").read_text()
    kept = np.load(tmp_path / "item_vectors.npz")
    picture = next((tmp_path / "data/made").glob("*.png"))
    row = kept["ids"].tolist().index(picture.stem)
    served = tf.saved_model.load(tmp_path / "export/1").signatures["encode_item"]
    _, _, color, shape, _ = picture.stem.split("-")
    found = served(
        image=tf.constant([picture.read_bytes()]),
        text=tf.constant([f"a {color} {shape}"]),
    )["embedding"]
    np.testing.assert_allclose(found[0], kept["vectors"][row], atol=1e-4)


def write(path, text):
    path.write_text(text)
    return str(path)


IDS = ["cup", "hat", "pen", "owl", "bag"]


def test_histories_are_read_in_order_of_time(tmp_path):
    rows = ["who,what,when", "ann,cup,9", "bob,hat,1", "ann,hat,1", "ann,pen,2024"]
    rows += ["ann,owl,10", "ann,hat,11", "bob,pen,2"]
    file = write(tmp_path / "orders.csv", "\n".join(rows))
    read = histories.read_histories(file, IDS, "who", "what", "when")
    # Bob has too few; Ann's second hat is none of her next items.
    assert read.users == ["ann"]
    assert read.items[0].tolist() == [1, 0, 3, 2]
    assert read.held_out("test")[0][0].tolist() == [1, 0, 3]
    assert read.held_out("test")[1].tolist() == [2]
    assert read.held_out("validation")[1].tolist() == [3]
    assert read.training_counts().tolist() == [1, 1, 0, 0, 0]
    pasts, following = read.training_examples(length=2)
    assert pasts.tolist() == [[-1, 1]] and following.tolist() == [0]


def test_a_spreadsheet_s_mark_is_no_part_of_a_column(tmp_path):
    rows = "".join(f"ann,{item}\n" for item in IDS[:4])
    file = write(tmp_path / "orders.csv", f"\ufeffuser,item\n{rows}")
    assert histories.read_histories(file, IDS).items[0].tolist() == [0, 1, 2, 3]


def test_dates_are_times(tmp_path):
    days = ["2024-05-04", "2024-05-03T10:00", "2024-05-01", "2023-12-31"]
    rows = [f"ann\t{item}\t{day}" for item, day in zip(IDS, days, strict=False)]
    file = write(tmp_path / "orders.tsv", "\n".join(["user\titem\ttime", *rows]))
    read = histories.read_histories(file, IDS, time_column="time")
    assert read.items[0].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,item\nann,cap\n", "orders.csv line 2: Every item.*'cap'"),
        ("user,thing\nann,cup\n", "no column 'item'.*'user', 'thing'"),
        ("user,item\nann,\n", "line 2: The column 'item' is empty"),
        ("user,item\nann,cup\nann,hat\n", "4 different items or more"),
        ("user,item\nann,cup,9\n", "line 2: The row has 3 fields"),
        ('user,item\nann,"cup\n' + 10**4 * "ann,hat,and more\n", "line 2.*quotes"),
        ("user,item,time\nann,cup,noon\n", "line 2: Times must be.*'noon'"),
        # Neither before nor after anything: the order would be any.
        ("user,item,time\nann,cup,nan\n", "line 2: Times must be finite.*'nan'"),
        (
            "user,item,time\nann,cup,2024-05-01\nann,hat,20240502\n",
            "a date in orders.csv line 2, and a number in orders.csv line 3",
        ),
    ],
)
def test_bad_histories_are_errors(text, message, tmp_path):
    file = write(tmp_path / "orders.csv", text)
    column = "time" if "time" in text else ""
    with pytest.raises(ValueError, match=message):
        histories.read_histories(file, IDS, time_column=column)


def test_made_up_users_keep_new_items_for_the_end():
    kinds = np.arange(120) % 4
    made = histories.made_histories(kinds, num_users=50, seed=3)
    again = histories.made_histories(kinds, num_users=50, seed=3)
    assert all(map(np.array_equal, made.items, again.items))
    targets = made.held_out("test")[1]
    cold = made.training_counts()[targets] == 0
    assert 5 <= cold.sum() <= 30
    for items in made.items:
        _, counts = np.unique(kinds[items[:-1]], return_counts=True)
        assert len(set(items.tolist())) == len(items) >= 6
        assert np.sort(counts)[-2:].sum() >= 0.5 * counts.sum()


def test_batches_hold_what_came_before():
    features = {
        "image": np.arange(10, dtype=np.float32).reshape(5, 2),
        "image_present": np.array([True, True, False, True, True]),
    }
    items = Catalogue(IDS, IDS, np.zeros(5), features)
    chosen = {"ann": [1, 0, 3, 2, 4], "bob": [0, 2, 1, 3]}
    both = histories.collect_histories(chosen, 5)
    config = dataclasses.replace(SMOKE, batch_size=3, history_length=3)
    inputs, item = next(iter(training_batches(config, items, both, start_step=0)))
    order = np.argsort(item)
    # Ann: the cup after the hat, the owl after both; Bob: the pen after the cup.
    assert item.numpy()[order].tolist() == [0, 2, 3]
    mask = inputs["history_mask"].numpy()[order]
    assert mask.tolist() == [[False, False, True]] * 2 + [[False, True, True]]
    past = inputs["history_image"].numpy()[order][:, -1]
    assert past.tolist() == [[2, 3], [0, 1], [0, 1]]
    assert inputs["item_image_present"].numpy()[order].tolist() == [True, False, True]
    np.testing.assert_allclose(inputs["item_log_frequency"], np.log([1 / 3] * 3), 1e-6)


def test_floors_and_new_items():
    chosen = {"ann": [0, 1, 2, 3], "bob": [0, 2, 1, 4], "cat": [0, 3, 1, 2]}
    every = histories.collect_histories(chosen, 5)
    popular = testing.by_popularity(every)
    metrics = testing.test_metrics(every, {"popular": popular}, k=1)
    # Counts are 3, 1, 1, 1, 0: Ann's owl and Cat's pen tie with none but bought ones,
    # and Bob's bag, which is new, comes after the owl.
    assert metrics["new_item_users"] == 1 and metrics["popular/new/hit_rate_at_1"] == 0
    # The bag is the only new item.
    assert metrics["popular/among_new/hit_rate_at_1"] == 1
    assert metrics["popular/hit_rate_at_1"] == pytest.approx(2 / 3)
    vectors = np.array([[1, 0], [0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [-3.4, -0.6]])
    features = {"image": vectors, "image_present": np.ones(5, bool)}
    nearest = testing.by_likeness(Catalogue(IDS, IDS, np.zeros(5), features))
    scores = nearest([np.array([0, 1])])
    assert scores.shape == (1, 5) and scores[0].argmin() == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ""}, "Either `--manifest` or `--data`"),
        ({"manifest": "items.csv"}, "Either `--manifest` or `--data`"),
        ({"histories": "orders.csv"}, "goes with your own items"),
        ({"data": "somewhere"}, "goes with your own items"),
    ],
)
def test_items_and_histories_go_together(changes, message, tmp_path):
    config = dataclasses.replace(SMOKE, output_dir=str(tmp_path), **changes)
    with pytest.raises(ValueError, match=message):
        recommendation.open_items(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"list_length": 0}, "list_length"),
        ({"temperature": 0.0}, "temperature"),
        ({"num_layers": -1}, "num_layers.*-1"),
        ({"train_text_encoder": True}, "encoders are frozen"),
        ({"dropout_rate": 1.0}, "dropout_rate"),
        ({"modality_dropout_rate": -0.1}, "modality_dropout_rate"),
    ],
)
def test_bad_settings_are_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        recommendation.Config(**changes)


class Encoders:
    """Encodes an item as the length of its text."""

    def decode_record(self, record):
        return record

    def prepare_batch(self, batch, keep_records):
        return batch

    def features(self, batch):
        return {"text": tf.strings.length(batch["text"])[:, None]}


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Three items in a split of any name."""
    folder = tmp_path_factory.mktemp("items")
    tf.io.write_file(str(folder / "a.png"), tf.io.encode_png(np.zeros((8, 8, 3), "u1")))
    rows = [f"{name},a.png,{len(name) * 'x'},stock" for name in ("cup", "hat", "owls")]
    (folder / "items.csv").write_text("\n".join(["id,image,text,split", *rows]))
    tfrecords_tools.build_manifest(
        manifest=folder / "items.csv",
        output_dir=folder,
        name="items",
        image_column="image",
        text_column="text",
        label_column="text",
        id_column="id",
        split_column="split",
    )
    return kmmft.data.open_source(folder / "items/1.0.0")


def test_items_may_be_in_splits_of_any_name(items):
    config = dataclasses.replace(SMOKE, list_length=2)
    found = read_catalogue(config, items, Encoders())
    assert sorted(zip(found.ids, found.texts, strict=True)) == [
        ("cup", "xxx"),
        ("hat", "xxx"),
        ("owls", "xxxx"),
    ]
    assert found.features["text"][:, 0].tolist() == [len(x) for x in found.texts]


def test_a_list_of_all_items_is_always_right(items):
    with pytest.raises(ValueError, match=r"`--list_length`.*Received: 10, and 3 items"):
        read_catalogue(SMOKE, items, Encoders())


def test_ids_must_differ(items):
    config = dataclasses.replace(SMOKE, list_length=2)
    (stock,) = items.splits.values()
    twice = dataclasses.replace(items, splits={"train": stock, "more": stock})
    with pytest.raises(ValueError, match=r"an id of its own.*'cup'"):
        read_catalogue(config, twice, Encoders())
