import dataclasses

import pytest

from kmmft.training import (
    RecipeConfig,
    RunDirectory,
    command_line,
    parse_config,
    run_recipe,
)

PRESETS = {"quickstart": RecipeConfig(), "smoke": RecipeConfig(epochs=9)}


def parse(*arguments):
    return parse_config(RecipeConfig, PRESETS, arguments)


def test_flags_override_the_preset():
    config = parse("--preset", "smoke", "--learning_rate", "0.5", "--no_resume")
    assert (config.epochs, config.learning_rate, config.resume) == (9, 0.5, False)
    assert parse() == RecipeConfig()


def test_config_of_an_earlier_run(tmp_path):
    RunDirectory(tmp_path, RecipeConfig(epochs=4)).close()
    config = parse("--config", str(tmp_path / "config.json"), "--seed", "3")
    assert config == dataclasses.replace(RecipeConfig(), epochs=4, seed=3)


def test_unknown_preset():
    with pytest.raises(ValueError, match=r"one of quickstart, smoke.*'fast'"):
        parse("--preset", "fast")


@pytest.mark.parametrize(
    "text", ["not json", '{"speed": 1}', "[1]", "[]", '{"epochs": "many"}']
)
def test_bad_config_file(tmp_path, text):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="`--config` must"):
        parse("--config", str(file))
    with pytest.raises(ValueError, match="`--config` must"):
        parse("--config", str(tmp_path / "absent.json"))


@pytest.mark.parametrize("flag", [["--epoch", "3"], ["--epochs", "many"]])
def test_bad_flag_is_named(flag, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(*flag)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert flag[0] in printed.err + printed.out


def test_help_names_every_flag(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse("--help")
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    for field in dataclasses.fields(RecipeConfig):
        assert f"--{field.name}" in printed
    assert "--preset {quickstart,smoke}" in printed


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Images must\n  be there."),
        ImportError("No module 'x'. It needs: pip install kmmft[text_metrics]"),
    ],
)
def test_bad_data_and_missing_extras_end_in_one_line(error, monkeypatch, capsys):
    def main(config):
        raise error

    monkeypatch.setattr("sys.argv", ["recipe"])
    with pytest.raises(SystemExit) as stopped:
        run_recipe(main, RecipeConfig, PRESETS)
    assert stopped.value.code == 2
    one_line = " ".join(str(error).split())
    assert capsys.readouterr().err == f"error: {one_line}\n"


def test_strategy_is_there_before_the_recipe(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recipe", "--strategy", "multi_worker"])
    monkeypatch.setenv("TF_CONFIG", "")
    with pytest.raises(SystemExit):
        run_recipe(pytest.fail, RecipeConfig, PRESETS)
    assert "multi_worker needs the environment variable" in capsys.readouterr().err


def test_batch_that_the_replicas_cannot_share(monkeypatch, capsys, two_replicas):
    monkeypatch.setattr("sys.argv", ["recipe", "--batch_size", "7"])
    monkeypatch.setattr(command_line, "make_strategy", lambda name: two_replicas)
    with pytest.raises(SystemExit):
        run_recipe(pytest.fail, RecipeConfig, PRESETS)
    assert "Received: 7 on 2 replicas" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyError("image"), ImportError("No module 'x'")])
def test_a_fault_of_ours_keeps_its_traceback(error, monkeypatch):
    def main(config):
        raise error

    monkeypatch.setattr("sys.argv", ["recipe"])
    with pytest.raises(type(error)):
        run_recipe(main, RecipeConfig, PRESETS)
