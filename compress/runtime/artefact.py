"""The artefact: a directory that ships, and compress.json, which says what it is and what each of its files must be.

compress.json holds, sorted and free of anything that changes from run to run:

    format            1
    manifest_sha256   of compress.json itself, with 64 zeros in this place
    files             by name: sha256 and bytes of every other file
    lock              the resolved recipe, seed, versions, hashes of the data
    model             description, random_weights, parameters
    target            by name
    quantization      what was decided about weights and activations; of a pruned model also `sparsity`
    scores            by name: value, low, high, num_samples; measured on the artefact
    float_sha256      of the float model.onnx that it was compared with, where it was

Reading and writing stand together, since each checks what the other makes.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from compress.errors import ArtefactError
from compress.tasks.base import Figure, Scores

FORMAT = 1
MANIFEST, MODEL = "compress.json", "model.onnx"
ENCODER, DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"  # the two graphs of an encoder–decoder model
TRANSFORMER = "transformer/model.onnx"  # of a generator of images, in the layout of diffusers
UNET = "unet/model.onnx"  # of a denoiser of latents, in the same
TEXT_ENCODER, VAE_DECODER = "text_encoder/model.onnx", "vae_decoder/model.onnx"  # beside it in a whole pipeline
TOKENIZER, TARGET_TOKENIZER = "tokenizer.json", "target_tokenizer.json"  # the second where the output has its own
_PARTIAL = f"{MANIFEST}.partial"  # all that a killed write can leave behind; no part of the artefact
_OWN_HASH = "manifest_sha256"
_ZEROS = "0" * 64
_GIVEN = {"lock": dict, "model": dict, "target": str, "quantization": dict, "scores": dict}  # what the writer says
_WRITTEN = {"format": int, "files": dict, _OWN_HASH: str}  # what `write_manifest` adds
_OPTIONAL = {"float_sha256": str}
_MODEL_KEYS = {"description": str, "random_weights": bool, "parameters": int}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Artefact:
    """A directory whose files are what its manifest says.  Made by `open_artefact` and `write_manifest` alone."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def model_path(self) -> Path:
        """The graph that gives the answers: of an encoder–decoder model the decoder's."""
        return self.directory / next(
            name for name in (MODEL, TRANSFORMER, UNET, DECODER) if name in self.manifest["files"]
        )

    @property
    def model_files(self) -> tuple[str, ...]:
        """Names of the graphs and of the files beside them that hold their weights (model.onnx_data, …)."""
        return tuple(sorted(filter(holds_model, self.manifest["files"])))

    @property
    def model_sha256(self) -> str:
        """Of the model's file; of several, the sha256 of the lines '<sha256>  <name>' of each, as sha256sum writes."""
        hashes = {name: str(self.manifest["files"][name]["sha256"]) for name in self.model_files}
        if len(hashes) == 1:
            return next(iter(hashes.values()))
        return hashlib.sha256("".join(f"{found}  {name}\n" for name, found in hashes.items()).encode()).hexdigest()

    @property
    def description(self) -> str:
        """The model, in words."""
        return str(self.manifest["model"]["description"])

    @property
    def random_weights(self) -> bool:
        return bool(self.manifest["model"]["random_weights"])

    @property
    def target(self) -> str:
        return str(self.manifest["target"])

    @property
    def float_sha256(self) -> str | None:
        """sha256 of the float model.onnx that its scores compare it with, or None."""
        return self.manifest.get("float_sha256")

    @cached_property
    def scores(self) -> Scores:
        """The scores that the manifest records."""
        return {name: Figure(**figure) for name, figure in self.manifest["scores"].items()}

    @cached_property
    def file_bytes(self) -> dict[str, int]:
        """Bytes of every file, compress.json among them."""
        listed = {name: int(entry["bytes"]) for name, entry in self.manifest["files"].items()}
        return dict(sorted({**listed, MANIFEST: (self.directory / MANIFEST).stat().st_size}.items()))

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole directory."""
        return sum(self.file_bytes.values())

    @property
    def model_bytes(self) -> int:
        """Bytes of the graphs and of the files beside them that hold their weights."""
        return sum(self.file_bytes[name] for name in self.model_files)

    def gzip_bytes(self) -> int:
        """Bytes of a download: every file, deflated as `gzip -1` does."""
        listed = self.manifest["files"]
        known = sum(_deflated_once(entry["sha256"], self.directory / name) for name, entry in listed.items())
        return known + deflated_bytes(self.directory / MANIFEST)


def open_artefact(directory: str | Path) -> Artefact:
    """The artefact in `directory`, with the sha256 and size of every file checked.

    Raises ArtefactError, one line a problem, for a manifest that is missing, damaged or of a newer format, and for
    files that are missing, damaged, not listed, or links to a place outside the directory.
    """
    directory = Path(directory)
    try:
        manifest = read_manifest(directory)
        problems = [*_file_problems(directory, manifest["files"])]
    except OSError as error:
        raise ArtefactError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if problems:
        raise ArtefactError("\n".join(problems))
    return Artefact(directory, manifest)


def write_manifest(directory: str | Path, content: Mapping[str, Any]) -> Artefact:
    """Write compress.json over the files that lie in `directory`, all at once, and return the artefact.

    content  lock, model {description, random_weights, parameters}, target, quantization, scores (Figures or their
             plain form), and float_sha256 if there is one.

    Raises ArtefactError for content that misses a key or has one too many, and for links that lead outside.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    _check_types(path, content, _GIVEN, _OPTIONAL)
    content = {**content, "scores": {name: _plain(figure) for name, figure in content["scores"].items()}}
    _check_content(path, content)
    files = {}
    for name, file in _walk(directory):
        problem = _path_problem(directory, name)
        if problem:
            raise ArtefactError(problem)
        if name != MANIFEST:
            files[name] = {"sha256": _sha256(file), "bytes": file.stat().st_size}
    if not _has_model(files):
        raise ArtefactError(f"{directory / MODEL}: no such file: write the model before the manifest")
    manifest = {**content, "format": FORMAT, "files": files, _OWN_HASH: _ZEROS}
    try:
        text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"
    except ValueError as error:
        raise ArtefactError(f"{path}: a number in it is not finite, which JSON cannot hold: {error}") from error
    own = hashlib.sha256(text.encode()).hexdigest()
    partial = directory / _PARTIAL
    partial.write_text(text.replace(f'"{_OWN_HASH}": "{_ZEROS}"', f'"{_OWN_HASH}": "{own}"'), "utf-8", newline="\n")
    os.replace(partial, path)
    return Artefact(directory, read_manifest(directory))


def with_scores(artefact: Artefact, scores: Scores, float_sha256: str | None = None) -> Artefact:
    """Record in the manifest what was measured on the artefact, and which float model it was compared with."""
    content = {name: artefact.manifest[name] for name in (*_GIVEN, *_OPTIONAL) if name in artefact.manifest}
    content["scores"] = scores
    if float_sha256 is not None:
        content["float_sha256"] = float_sha256
    return write_manifest(artefact.directory, content)


def _has_model(files: Iterable[str]) -> bool:
    return bool({MODEL, TRANSFORMER, UNET} & set(files)) or {ENCODER, DECODER} <= set(files)


def holds_model(name: str) -> bool:
    """Whether a file is a graph, or lies beside one and holds its weights."""
    return name.endswith((".onnx", ".onnx_data")) or ".onnx." in name


def as_artefact(artefact: Artefact | str | Path) -> Artefact:
    """Open it, unless it is open."""
    return artefact if isinstance(artefact, Artefact) else open_artefact(artefact)


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest in `directory`, checked by its own hash; not one of the files that it lists is read.

    Raises ArtefactError for one that is missing, damaged or of a newer format.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtefactError(_no_manifest(directory))
    problem = _path_problem(directory, MANIFEST)
    if problem:
        raise ArtefactError(problem)
    raw = path.read_bytes()
    try:
        manifest = json.loads(raw.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: damaged: not the JSON that was written: {error}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ArtefactError(f"{path}: not a manifest of compress: it has no 'format' number")
    if manifest["format"] > FORMAT:
        newer = f"format {manifest['format']}, and this version reads up to {FORMAT}"
        raise ArtefactError(f"{path}: written by a newer version: {newer}: pip install --upgrade compress-toolkit")
    _check_types(path, {_OWN_HASH: manifest.get(_OWN_HASH)}, {_OWN_HASH: str}, {})
    found = hashlib.sha256(raw.replace(manifest[_OWN_HASH].encode(), _ZEROS.encode(), 1)).hexdigest()
    if found != manifest[_OWN_HASH]:
        raise ArtefactError(_damaged(path, manifest[_OWN_HASH], found))
    _check_types(path, manifest, {**_GIVEN, **_WRITTEN}, _OPTIONAL)
    _check_content(path, manifest)
    for name, entry in manifest["files"].items():
        _check_types(path, _mapping(path, f"files.{name}", entry), {"sha256": str, "bytes": int}, {}, f"files.{name}.")
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or name == MANIFEST:
            raise ArtefactError(f"{path}: lists '{name}', which is no file inside the artefact")
    if not _has_model(manifest["files"]):
        raise ArtefactError(f"{path}: lists no {MODEL}: an artefact has one")
    return manifest


def _no_manifest(directory: Path) -> str:
    if not directory.exists():
        return f"{directory}: no such directory: name one that holds a {MANIFEST}"
    if (directory / "artefact" / MANIFEST).is_file():
        return f"{directory}: the directory of a run: did you mean {directory / 'artefact'}?"
    return f"{directory}: not an artefact: it holds no {MANIFEST}"


def _file_problems(directory: Path, listed: Mapping[str, Any]) -> Iterator[str]:
    present = dict(_walk(directory))
    for name in sorted({*listed, *present} - {MANIFEST}):
        path = directory / name
        problem = _path_problem(directory, name) if name in present else None
        if problem:
            yield problem
        elif name not in present:
            yield f"{path}: missing: expected sha256 {listed[name]['sha256'][:12]}, found no file"
        elif name not in listed:
            yield f"{path}: not listed in {MANIFEST}: found sha256 {_sha256(path)[:12]}, expected no such file"
        else:
            found = _sha256(path)
            if found != listed[name]["sha256"] or path.stat().st_size != listed[name]["bytes"]:
                sizes = f" ({listed[name]['bytes']:,} bytes, found {path.stat().st_size:,})"
                yield _damaged(path, listed[name]["sha256"], found) + sizes


def _damaged(path: Path, expected: str, found: str) -> str:
    return f"{path}: damaged: expected sha256 {expected[:12]}, found {found[:12]}"


def _walk(directory: Path) -> Iterator[tuple[str, Path]]:
    """Every entry that is not a true directory, by its name with '/', sorted; links are not followed."""
    entries = []
    for root, directories, files in os.walk(directory, followlinks=False):
        links = [name for name in directories if Path(root, name).is_symlink()]
        entries += [Path(root, name) for name in (*files, *links)]
    for path in sorted(entries):
        name = path.relative_to(directory).as_posix()
        if name != _PARTIAL:
            yield name, path


def _path_problem(directory: Path, name: str) -> str | None:
    """What is wrong with an entry that exists, before it is read: it leads outside, or is not a file."""
    path = directory / name
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
        return f"{path}: a link that leads nowhere"
    if not real.is_relative_to(directory.resolve()):
        return f"{path}: a link to {real}, outside the artefact: copy the directory with its links followed (cp -rL)"
    if not stat.S_ISREG(real.stat().st_mode):
        return f"{path}: not a regular file"
    return None


def _check_types(
    path: Path,
    value: Mapping[str, Any],
    wanted: Mapping[str, type],
    optional: Mapping[str, type],
    where: str = "",
) -> None:
    for key in sorted({*wanted, *value}):
        kind = wanted.get(key) or optional.get(key)
        if kind is None:
            raise ArtefactError(f"{path}: '{where}{key}' has no place in a manifest")
        if key not in value:
            raise ArtefactError(f"{path}: '{where}{key}' is missing")
        if not isinstance(value[key], kind) or (kind is int and isinstance(value[key], bool)):
            raise ArtefactError(f"{path}: '{where}{key}' is {_named(value[key])}, not {kind.__name__}")


def _check_content(path: Path, content: Mapping[str, Any]) -> None:
    _check_types(path, content["model"], _MODEL_KEYS, {}, "model.")
    for name, figure in content["scores"].items():
        where = f"scores.{name}"
        if set(_mapping(path, where, figure)) != {"value", "low", "high", "num_samples"}:
            raise ArtefactError(f"{path}: '{where}' must have value, low, high and num_samples, no more")
        for key, number in figure.items():
            if isinstance(number, bool) or not (isinstance(number, int | float) or (number is None and key != "value")):
                raise ArtefactError(f"{path}: '{where}.{key}' is {_named(number)}, not a number")


def _mapping(path: Path, where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ArtefactError(f"{path}: '{where}' is {_named(value)}, not dict")
    return value


def _named(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _plain(figure: Any) -> Any:
    if not isinstance(figure, Figure):
        return figure
    numbers = {key: None if number is None else float(number) for key, number in asdict(figure).items()}
    return {**numbers, "num_samples": None if figure.num_samples is None else int(figure.num_samples)}


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


_DEFLATED: dict[str, int] = {}  # by sha256: a file of 1 GB takes long, and an artefact moves to its place unchanged


def _deflated_once(sha256: str, path: Path) -> int:
    if sha256 not in _DEFLATED:
        _DEFLATED[sha256] = deflated_bytes(path)
    return _DEFLATED[sha256]


def deflated_bytes(path: Path) -> int:
    """Bytes of a file as `gzip -1` makes it."""
    deflate = zlib.compressobj(level=1, wbits=31)  # 31: with gzip's header and checksum
    return sum(len(deflate.compress(block)) for block in _blocks(path)) + len(deflate.flush())


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            yield block
