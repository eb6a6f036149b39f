"""What is in a cache is used as it is; what is not is downloaded; what cannot be is told in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from compress.errors import CompressError, ModelError
from compress.models.loaded import first_line

T = TypeVar("T")
PROBE_SECONDS = 5


def from_hub(what: str, repository: str, load: Callable[[], T], *, instead: str = "") -> T:
    """What `load` returns, from the cache of huggingface_hub if it is there, else from the hub.

    The cache comes first: with a dead network the hub's client would try for 24 seconds a file before it looked there.
    Raises ModelError that says how to get `repository`, or what to do `instead`.
    """
    try:
        with _offline():
            return load()
    except OSError as missing:  # not in the cache (or, at worst, damaged there: then told below)
        cause: Exception = missing
    except CompressError:
        raise
    except Exception as error:
        raise ModelError(f"{what}: {first_line(error)}") from error
    endpoint = _reachable_endpoint()
    if endpoint is None:
        raise ModelError(
            f"{what}: not in the cache, and the Hugging Face hub cannot be reached: run `hf download {repository}` "
            f"where it can and copy the cache here (HF_HOME){instead}"
        ) from cause
    try:
        return load()
    except CompressError:
        raise
    except Exception as error:
        raise ModelError(f"{what}: cannot be had from {endpoint}: {first_line(error)}") from error


@contextmanager
def _offline() -> Iterator[None]:
    """Scope: huggingface_hub makes no request; what its cache lacks is an OSError."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _reachable_endpoint() -> str | None:
    """The hub's address if it answers at all (through the user's proxy, if there is one)."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        get_session().head(constants.ENDPOINT, timeout=PROBE_SECONDS)
    except Exception:  # whatever its HTTP library raises: no answer is no answer
        return None
    return constants.ENDPOINT
