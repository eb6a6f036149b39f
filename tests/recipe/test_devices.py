"""A recipe names one target, or several, of which each is a recipe of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.preflight import read_jobs
from compress.recipe import dump, dump_yaml, parse
from compress.targets import names

BASE = "name: x\nmodel: timm:resnet18\ntask: image_classification\n"


def test_each_target_is_a_recipe_of_its_own() -> None:
    recipe = parse(BASE + "targets: [x86-vnni, rk3588]\n")
    assert [(each.name, each.target, each.targets) for each in recipe.each()] == [
        ("x-x86-vnni", "x86-vnni", ()),
        ("x-rk3588", "rk3588", ()),
    ]
    assert parse(dump(recipe)) == recipe
    assert parse(dump_yaml(recipe)) == recipe
    alone = parse(BASE + "target: rk3588\n")
    assert alone.each() == [alone]


def test_the_nearest_says_whether_it_is_one_or_several(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(BASE + "target: rk3588\n")
    (tmp_path / "many.yaml").write_text("extends: one.yaml\ntargets: [x86-vnni, x86-avx2]\n")
    (tmp_path / "again.yaml").write_text("extends: many.yaml\ntarget: web\n")
    assert parse(tmp_path / "many.yaml").targets == ("x86-vnni", "x86-avx2")
    assert (parse(tmp_path / "again.yaml").target, parse(tmp_path / "again.yaml").targets) == ("web", ())
    overridden = parse(tmp_path / "many.yaml", ["target=rk3588"])
    assert (overridden.target, overridden.targets) == ("rk3588", ())
    assert parse(tmp_path / "one.yaml", ["targets=[web, rk3588]"]).targets == ("web", "rk3588")


def test_a_command_s_recipe_of_several_targets_is_as_many_jobs(tmp_path: Path) -> None:
    (tmp_path / "many.yaml").write_text(BASE + "targets: [x86-vnni, x86-avx2]\n")
    jobs = read_jobs([str(tmp_path / "many.yaml")])
    assert [job.recipe.name for job in jobs] == ["x-x86-vnni", "x-x86-avx2"]
    assert len({job.command() for job in jobs}) == 1
    [whole] = read_jobs([str(tmp_path / "many.yaml")], apart=False)
    assert whole.recipe.name == "x"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("target: web\ntargets: [web, rk3588]\n", "<recipe>:4: target stands beside targets: keep one"),
        ("targets: web\n", "<recipe>:4: targets is 'web': write a list, such as [x86-vnni, rk3588]"),
        ("targets: [web, web]\n", "<recipe>:4: targets names one twice: keep one"),
        ("targets: [web, rk3589]\n", "<recipe>:4: unknown target 'rk3589': did you mean 'rk3588'?"),
        (
            "target: ./none.yaml\n",
            "<recipe>:4: target: none.yaml: cannot be read: No such file or directory: "
            f"name one of {', '.join(names())}, or a file",
        ),
        ("target: {name: x}\n", None),
    ],
)
def test_what_is_wrong_with_targets_is_told(text: str, told: str | None) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(BASE + text)
    if told is None:  # a target that is no whole one: each key that is missing
        assert "<recipe>:4: target: 'runtime' is missing: write it, or extend a target that has it" in (
            caught.value.problems
        )
    else:
        assert list(caught.value.problems) == [told]


def test_a_target_of_one_s_own_is_kept_whole_in_what_decides_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    board = Path("my-board.yaml")
    board.write_text("extends: rk3588\nmax_size: 640\n")
    recipe = parse(BASE + "target: ./my-board.yaml\n")
    assert (recipe.device().name, recipe.device().max_size, recipe.device().opset) == ("my-board", 640, 19)
    kept = dump(recipe)
    board.write_text("extends: rk3588\nmax_size: 320\n")
    assert dump(parse(BASE + "target: ./my-board.yaml\n")) != kept
    board.unlink()
    assert parse(kept) == parse(dump_yaml(recipe)) == recipe
    board.write_text("extends: rk3588\n")
    both = parse(BASE + "targets: [web, my-board.yaml]\n")
    assert [each.name for each in both.each()] == ["x-web", "x-my-board"]
    assert parse(dump(both)) == both


def test_what_is_wrong_with_a_file_is_told_at_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("extends: rk3588\nopsett: 3\nopset: twenty\n")
    with pytest.raises(RecipeError) as caught:
        parse(BASE + "target: mine.yaml\n")
    assert sorted(caught.value.problems) == [
        "<recipe>:4: target: mine.yaml:2: unknown key 'opsett': did you mean 'opset'?",
        '<recipe>:4: target: mine.yaml:3: opset is "twenty": input should be a valid integer',
    ]


def test_a_pass_must_suit_every_target() -> None:
    with pytest.raises(RecipeError) as caught:
        parse(BASE + "targets: [x86-vnni, rk3588]\npasses: [toy.round: {num_bits: 4}]\nexport: {opset: 21}\n")
    assert any("rk3588" in problem for problem in caught.value.problems)
