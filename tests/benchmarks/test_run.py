"""That all benchmarks run where one lacks something."""

import pathlib
import types

import pytest

from kmmft.evaluation import Table
from tests.benchmarks import __main__, serving


def test_one_that_lacks_something_is_named_and_the_others_run(capsys, tmp_path):
    export = tmp_path / "export/1"
    lacking = types.SimpleNamespace(
        __name__="serving", measure=lambda: serving.measure(export)
    )
    table = Table("Quick", ["what", "ms"], [["nothing", 1.5]])
    quick = types.SimpleNamespace(__name__="quick", measure=lambda: table)
    assert __main__.run([lacking, quick]) == 1
    named, *rest = capsys.readouterr().out.splitlines()
    assert named.startswith("Not run: serving. There must be an export")
    assert str(export) in named and "--variants" in named
    assert "nothing" in "".join(rest)


def test_a_fault_is_no_lack():
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        __main__.run([types.SimpleNamespace(__name__="broken", measure=broken)])


def test_make_bench_makes_what_serving_asks():
    made = serving.EXPORT.parent.parent / "variants/variants.json"
    makefile = pathlib.Path(__file__).parents[2] / "Makefile"
    assert f"bench: {made}\n" in makefile.read_text()
