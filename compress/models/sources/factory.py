"""factory:FILE.py:FUNCTION: the user's own code makes the model.  Runs only where --allow-code is given."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.data.preprocess import Preprocessor
from compress.errors import ModelError, unknown
from compress.models.loaded import LoadedModel, first_line, seeded
from compress.models.source import ModelSource

# What a model without a word about its input is given: the usual evaluation on ImageNet.
DEFAULT_PREPROCESSOR = Preprocessor(resize=256, crop=(224, 224), interpolation="bilinear")


def load(source: ModelSource, allow_code: bool) -> LoadedModel:
    """The function takes no arguments and returns the model, or (model, Preprocessor).

    A model of timm brings its own preprocessing; any other without one gets DEFAULT_PREPROCESSOR.

    Raises ModelError without allow_code, and for whatever goes wrong in the user's code, with its file:line.
    """
    name, function = source.factory
    if not allow_code:
        raise ModelError(f"{source.source} runs the code in {name}: add --allow-code if you trust it")
    file = Path(name).expanduser().resolve()
    if not file.is_file():
        raise ModelError(f"{source.source}: there is no file {name}")
    with _user_code(file, name):
        module = _import(file)
    build = getattr(module, function, None)
    if not callable(build):
        functions = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(f"{name}: {unknown('function', function, functions)}")
    with _user_code(file, name):
        made = seeded(source.seed, build)
    model, preprocessor = _unpack(made, source.source)
    return LoadedModel(
        model,
        preprocessor,
        config={"architecture": type(model).__name__},
        random_weights=source.weights == "random",
        description=f"{type(model).__name__} of {file.name}:{function}",
    )


def _unpack(made: Any, where: str) -> tuple[Any, Preprocessor]:
    from torch import nn

    if isinstance(made, nn.Module):
        if getattr(made, "pretrained_cfg", None):
            from compress.models.sources import timm_models

            return made, timm_models.preprocessor(made, where)
        return made, DEFAULT_PREPROCESSOR
    if isinstance(made, tuple) and len(made) == 2:
        model, preprocessor = made
        if isinstance(model, nn.Module) and isinstance(preprocessor, Preprocessor):
            return model, preprocessor
    raise ModelError(f"{where} returned a {type(made).__name__}: return a torch.nn.Module, or (Module, Preprocessor)")


def _import(file: Path) -> ModuleType:
    """The file as a module of its own name, which can import its neighbours."""
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look modules up by name
    spec.loader.exec_module(module)
    return module


@contextmanager
def _user_code(file: Path, name: str) -> Iterator[None]:
    """Scope: the file's folder can be imported from; an error becomes 'file:line: Kind: message'."""
    sys.path.insert(0, str(file.parent))
    try:
        yield
    except SyntaxError as error:
        raise ModelError(f"{error.filename or name}:{error.lineno}: SyntaxError: {error.msg}") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything; sys.exit must not end this program
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        place = f"{name}:{lines[-1]}" if lines else name
        raise ModelError(f"{place}: {type(error).__name__}: {first_line(error)}") from error
    finally:
        sys.path.remove(str(file.parent))
