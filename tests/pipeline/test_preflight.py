"""What is wrong is told before any work, for all recipes at once, each problem at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress import preflight
from compress.errors import MissingExtra, RecipeError, require
from compress.preflight import check_jobs, read_jobs

pytestmark = pytest.mark.usefixtures("workplace")


def problems(*recipes: str, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        check_jobs(read_jobs(recipes, overrides), allow_code=False)
    return list(caught.value.problems)


def broken(name: str, old: str, new: str) -> str:
    text = Path("tiny.yaml").read_text()
    assert old in text
    Path(f"{name}.yaml").write_text(text.replace("name: tiny", f"name: {name}").replace(old, new))
    return f"{name}.yaml"


def test_a_good_recipe_has_no_problems() -> None:
    assert check_jobs(read_jobs(["tiny.yaml"]), allow_code=False) == []


def test_a_selector_that_matches_no_layer_is_told_at_its_line_with_the_nearest() -> None:
    first = broken("a", "- quantize.static", "- quantize.static:\n      targets: [linear]\n      ignore: [conv11]")
    second = broken("b", "- quantize.static", "- quantize.static: {targets: ['re:layer[789]', '*']}")
    told = problems(first, "tiny.yaml", second)
    assert told[0] == "a.yaml:9: quantize.static: unknown layer 'conv11': did you mean 'conv1'?"
    assert told[1].startswith("b.yaml:7: quantize.static: unknown layer 'layer[789]': known: conv1, ")
    assert len(told) == 2


def test_an_override_is_a_place_too() -> None:
    told = problems("tiny.yaml", overrides=("passes.quantize.static.targets=[linaer]",))
    assert told == [
        "--set passes.quantize.static.targets=[linaer]: quantize.static: unknown layer 'linaer': did you mean 'linear'?"
    ]


def test_data_that_cannot_be_used_is_told_with_the_rest() -> None:
    Path("noise.parquet").write_bytes(b"PAR1 and no more")
    bad = broken("bad", '"folder:images"', '"parquet:noise.parquet"')
    Path(bad).write_text(Path(bad).read_text().replace("[0:12]", "[0:99]").replace("cifar:resnet8", "cifar:resnet21"))
    model, task, calibration = problems(bad)
    assert model.startswith("bad.yaml:2: model: unknown cifar model 'resnet21': did you mean")
    assert task.startswith("bad.yaml:3: task: dataset 'parquet:noise.parquet'")
    assert (
        calibration == "bad.yaml:4: calibration: dataset 'folder:images[0:99]': there are only 20 images: write [0:20]"
    )


def test_all_recipes_are_parsed_before_any_is_refused() -> None:
    typo = broken("typo", "- fold.batchnorm", "- fold.batchnrom")
    with pytest.raises(RecipeError) as caught:
        read_jobs([typo, "gone.yaml", "tiny.yaml"], ["seed=one"])
    told = caught.value.problems
    assert told[0] == "typo.yaml:6: unknown pass 'fold.batchnrom': did you mean 'fold.batchnorm'?"
    assert told[1] == "--set seed=one: seed is 'one': write an integer from 0 to 4294967295"
    assert told[2] == "gone.yaml: no such file"
    assert len(told) == 3


def test_two_recipes_of_one_name_would_overwrite_each_other() -> None:
    Path("copy.yaml").write_text(Path("tiny.yaml").read_text())
    with pytest.raises(RecipeError, match=r"^copy.yaml: its name 'tiny' is also that of tiny.yaml: rename one$"):
        read_jobs(["tiny.yaml", "copy.yaml"])


def test_what_an_extra_is_missing_for_is_an_error_or_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(job: object, allow_code: bool) -> list[str]:
        require("no_such_module", "checking selectors", "torch")
        return []

    monkeypatch.setattr(preflight, "selector_problems", without_torch)
    told = "checking selectors needs an extra: pip install 'compress-toolkit[torch]'"
    assert check_jobs(read_jobs(["tiny.yaml"]), allow_code=False, lenient=True) == [f"not checked: {told}"]
    with pytest.raises(MissingExtra, match="checking selectors needs an extra"):
        check_jobs(read_jobs(["tiny.yaml"]), allow_code=False)


def test_the_command_can_be_typed_again() -> None:
    [job] = read_jobs(["tiny.yaml"], ["seed=3", "calibration.dataset=folder:images[0:4]"])
    assert job.command("--output", "my runs") == (
        "compress run tiny.yaml --set seed=3 --set 'calibration.dataset=folder:images[0:4]' --output 'my runs'"
    )
