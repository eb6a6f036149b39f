"""The error tree: what a user can cause ends with exit code 2, and its text is the whole message."""

from __future__ import annotations

import pytest

from compress.errors import (
    ArtefactError,
    CompressError,
    DataError,
    MissingExtra,
    ModelError,
    ParityError,
    PromiseBroken,
    RecipeError,
    require,
    unknown,
)


@pytest.mark.parametrize(
    "error",
    [
        RecipeError(["text"]),
        ModelError("text"),
        DataError("text"),
        ArtefactError("text"),
        PromiseBroken("text"),
        ParityError("text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_is_one_that_a_user_can_mend(error: CompressError) -> None:
    assert isinstance(error, CompressError)
    assert (str(error), error.exit_code) == ("text", 2)


def test_all_problems_of_a_recipe_come_at_once_one_a_line() -> None:
    error = RecipeError(["a.yaml:1: one", "a.yaml:2: two"])
    assert error.problems == ("a.yaml:1: one", "a.yaml:2: two")
    assert str(error) == "a.yaml:1: one\na.yaml:2: two"


def test_what_is_not_installed_names_the_extra_that_brings_it() -> None:
    with pytest.raises(MissingExtra) as caught:
        require("no_such_package", "the model 'hf:a/b'", "torch")
    assert str(caught.value) == "the model 'hf:a/b' needs an extra: pip install 'compress-toolkit[torch]'"
    assert (caught.value.extra, caught.value.exit_code) == ("torch", 2)


def test_what_is_installed_is_not_asked_for() -> None:
    require("json", "anything", "torch")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    message = unknown("pass", "prune.magnitud", ["quantize.weights", "prune.magnitude"])
    assert message == "unknown pass 'prune.magnitud': did you mean 'prune.magnitude'?"


def test_an_unknown_name_near_to_none_is_answered_with_all_in_order() -> None:
    assert unknown("target", "xyz", ["generic", "cpu"]) == "unknown target 'xyz': known: cpu, generic"
