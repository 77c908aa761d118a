import dataclasses
import json
import logging

import pytest

import kmmft
from kmmft.training import RecipeConfig, RunDirectory


def test_files_of_a_run(tmp_path):
    with RunDirectory(tmp_path / "run", RecipeConfig(epochs=7)) as run:
        run.write_epoch(0, {"loss": 2.0})
        run.write_epoch(1, {"loss": 1.0, "val_loss": 3.0})
        run.write_epoch(1, {"loss": 0.5})
        logging.getLogger("kmmft").warning("something happened")
        assert run.metrics() is None
        run.write_metrics({"test/accuracy": 0.5})
        assert run.metrics() == {"test/accuracy": 0.5}
        assert run.history() == [{"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 0.5}]
        assert run.history(before=1) == [{"epoch": 0, "loss": 2.0}]
    files = {file.name for file in (tmp_path / "run").iterdir()}
    assert files == {"config.json", "metrics.json", "history.csv", "run.log"}
    assert json.loads((tmp_path / "run/config.json").read_text())["epochs"] == 7
    assert "something happened" in (tmp_path / "run/run.log").read_text()


def test_a_setting_that_is_newer_than_the_run_has_its_default(tmp_path):
    RunDirectory(tmp_path, RecipeConfig()).close()
    (tmp_path / "metrics.json").write_text("{}")
    older = json.loads((tmp_path / "config.json").read_text())
    del older["weight_decay"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    RunDirectory(tmp_path, RecipeConfig()).close()
    (tmp_path / "config.json").write_text(json.dumps(older))
    with pytest.raises(ValueError, match=r"weight_decay was .*, is now 0\.5"):
        RunDirectory(tmp_path, RecipeConfig(weight_decay=0.5))


def test_other_configuration_is_refused(tmp_path):
    with RunDirectory(tmp_path, RecipeConfig(epochs=1)) as run:
        run.write_epoch(0, {"loss": 1.0})
    RunDirectory(tmp_path, RecipeConfig(epochs=1, output_dir="elsewhere")).close()
    with pytest.raises(ValueError, match="epochs was 1, is now 2"):
        RunDirectory(tmp_path, RecipeConfig(epochs=2))


def test_one_process_at_a_time(tmp_path):
    config = RecipeConfig()
    with RunDirectory(tmp_path, config) as run:
        run.write_epoch(0, {"loss": 1.0})
        with pytest.raises(ValueError, match="One process at a time"):
            RunDirectory(tmp_path, config)
        assert run.history() == [{"epoch": 0, "loss": 1.0}]
    RunDirectory(tmp_path, config).close()


def test_no_resume_refuses_an_existing_run(tmp_path):
    config = dataclasses.replace(RecipeConfig(), resume=False)
    with RunDirectory(tmp_path, config, resume=False) as run:
        run.write_epoch(0, {"loss": 1.0})
    with pytest.raises(ValueError, match="--no_resume"):
        RunDirectory(tmp_path, config, resume=False)


def test_a_run_that_came_to_nothing_is_in_nobodys_way(tmp_path):
    RunDirectory(tmp_path, RecipeConfig(image_encoder="misspelt")).close()
    RunDirectory(tmp_path, RecipeConfig(image_encoder="demo")).close()
    assert json.loads((tmp_path / "config.json").read_text())["image_encoder"] == "demo"


def test_unknown_strategy():
    with pytest.raises(ValueError, match="Received: strategy='fast'"):
        kmmft.training.make_strategy("fast")


def test_output_dir_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"needs a directory.*output_dir=.*file"):
        RunDirectory(tmp_path / "file", RecipeConfig())
