"""hf:ORG/NAME@REVISION and path:DIRECTORY: translators as transformers saves them.

Nothing of a repository is run.  Weights are safetensors; a repository that has none (NLLB, many of OPUS-MT) gives its
pytorch_model.bin, of which torch reads tensors alone (`weights_only`).
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from compress.errors import ModelError
from compress.models.hub import from_hub
from compress.models.loaded import told
from compress.models.paging import page, wants_paging
from compress.models.source import ModelSource
from compress.models.translators.building import (
    DEFAULT_STD,
    auto_class,
    blank_model,
    family_of,
    float_bytes,
    quiet,
    random_model,
)
from compress.models.translators.convert import m2m100_tokenizer, marian_tokenizers
from compress.models.translators.loaded import SETTINGS, SETTINGS_FILES, LoadedTranslator
from compress.models.translators.prompts import default_prompt, marian_prompt

# The file of the weights or, in front, the index of its shards; safetensors first.
SAFETENSORS = ("model.safetensors.index.json", "model.safetensors")
PICKLES = ("pytorch_model.bin.index.json", "pytorch_model.bin")
# Models without tokenizer.json need all their tables.
TABLES: tuple[str, ...] = (
    "source.spm",
    "target.spm",
    "vocab.json",
    "target_vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
)
TABLES += ("spiece.model", "tokenizer.model")
WANTED = ["*.json", "*.spm", "*.model", "*.txt", "*.jinja", "README.md"]


def load(source: ModelSource) -> LoadedTranslator:
    """Raises ModelError for what is neither here nor to be had, lacks files or weights, or is no translator."""
    folder = find(source)
    config = _config(source, folder)
    family = family_of(config, source.source)
    tokenizer, target, chat, specials = _tokenizers(source, folder, config)
    prompt = default_prompt(config, tokenizer, chat, specials)
    if config.model_type == "marian":
        prompt = marian_prompt(tokenizer, _settings(folder).get("source_lang"))
    random = source.weights == "random"
    with told(source.source), quiet():
        model = (
            random_model(config, source.seed, getattr(config, "initializer_range", None) or DEFAULT_STD, source.source)
            if random
            else _pretrained(source, folder, config)
        )
    tables = () if (folder / "tokenizer.json").is_file() and target is None else TABLES
    names = (*SETTINGS_FILES, *tables)
    revision = f", {source.revision}" if source.revision else ""
    place = f"{source.name} of the Hugging Face hub" if source.kind == "hf" else Path(source.name).name
    return LoadedTranslator(
        model,
        family,
        tokenizer,
        prompt,
        target,
        {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()},
        f"{place}{revision}" + (", random weights" if random else ""),
        None if random else licence_of(folder),
        random,
    )


def blank(source: ModelSource) -> Any:
    """The model on the meta device; its config is all that is read."""
    config = _config(source, find(source, weights=False))
    with told(source.source), quiet():
        return blank_model(config, source.source)


def find(source: ModelSource, *, weights: bool = True) -> Path:
    """The directory with the model's files, downloaded if need be.

    Raises ModelError if it is not to be had, or lacks its config or (where `weights` are wanted) some of its weights.
    """
    weights = weights and source.weights == "pretrained"
    local = Path(source.name).expanduser()
    if source.kind == "path" or local.is_dir():
        if local.is_file():
            raise ModelError(f"{source.source} is a file: a translator is a directory with its config: write path:DIR")
        if not local.is_dir():
            raise ModelError(f"there is no directory {local}")
        lacking = _lacking(local, weights)
        if lacking:
            raise ModelError(f"{source.source}: {lacking}")
        return local
    from huggingface_hub import snapshot_download

    def download(*patterns: str) -> Path:
        ignored = ["*/*", "consolidated*"]
        return Path(
            snapshot_download(
                source.name, revision=source.revision, allow_patterns=list(patterns), ignore_patterns=ignored
            )
        )

    def fetch() -> Path:
        folder = download(*WANTED, *(["*.safetensors"] if weights else []))
        if weights and not _has(folder, SAFETENSORS):
            folder = download(*WANTED, "pytorch_model*.bin")
        lacking = _lacking(folder, weights)
        if lacking:  # an OSError: what the cache has in part is downloaded
            raise FileNotFoundError(lacking)
        return folder

    with quiet():
        return from_hub(source.source, source.name, fetch)


def licence_of(folder: Path) -> str | None:
    """What the model card says; None where there is no card."""
    from huggingface_hub import ModelCard

    card = folder / "README.md"
    if not card.is_file():
        return None
    text = card.read_text(encoding="utf-8", errors="replace")
    licence = ModelCard(text, ignore_metadata_errors=True).data.get("license")
    return licence if isinstance(licence, str) else None


def _lacking(folder: Path, weights: bool) -> str | None:
    """What a directory lacks to be a model, in words; None for nothing."""
    if not (folder / "config.json").is_file():
        return f"there is no file {folder / 'config.json'}"
    if not weights:
        return None
    kind = next((each for each in (SAFETENSORS, PICKLES) if _has(folder, each)), None)
    if kind is None:
        return f"there is neither {SAFETENSORS[1]} nor {PICKLES[1]}: write one with save_pretrained"
    index = folder / kind[0]
    if not index.is_file():
        return None
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{index} is damaged"
    gone = [name for name in shards if not (folder / name).is_file()]
    told_gone = f"{', '.join(gone[:3])}{', …' if len(gone) > 3 else ''}"
    return f"{len(gone)} of its {len(shards)} files of weights are missing: {told_gone}" if gone else None


def _has(folder: Path, names: tuple[str, ...]) -> bool:
    return any((folder / name).is_file() for name in names)


def _config(source: ModelSource, folder: Path) -> Any:
    from transformers import AutoConfig

    with told(source.source), quiet():
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _pretrained(source: ModelSource, folder: Path, config: Any) -> Any:
    """The model in float32.  Where that is too large for memory, its weights stay in their files, in the type they have
    there, until they are paged one by one."""
    large = wants_paging(float_bytes(blank_model(config, source.source)))
    try:
        model, report = auto_class(config, source.source).from_pretrained(
            folder,
            use_safetensors=_has(folder, SAFETENSORS),
            weights_only=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            dtype="auto" if large else "float32",
        )
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{source.source}: its {PICKLES[1]} is damaged or holds more than tensors, and reading that could run any "
            f"code: refused: take a revision with safetensors"
        ) from error
    absent = sorted([*report["missing_keys"], *(str(key[0]) for key in report["mismatched_keys"])])
    if absent:
        raise ModelError(
            f"{source.source} has no weights for {', '.join(absent[:3])}{', …' if len(absent) > 3 else ''}: "
            f"its files are not whole, or of another model"
        )
    if large:
        page(model)
    return model


def _tokenizers(
    source: ModelSource, folder: Path, config: Any
) -> tuple[Tokenizer, Tokenizer | None, str | None, dict[str, str]]:
    """(of the source, of the target if it is another, chat template, special tokens by role)."""
    if config.model_type == "marian":
        separate = not getattr(config, "share_encoder_decoder_embeddings", True)
        return (*marian_tokenizers(folder, separate), None, {})
    if (
        config.model_type == "m2m_100"
        and not (folder / "tokenizer.json").is_file()
        and (folder / "vocab.json").is_file()
    ):
        from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

        kind = _settings(folder).get("language_codes", "m2m100")
        return m2m100_tokenizer(folder, FAIRSEQ_LANGUAGE_CODES.get(kind, [])), None, None, {}
    from transformers import AutoTokenizer

    with told(source.source), quiet():
        made = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if not getattr(made, "is_fast", False):
        raise ModelError(
            f"{source.source}: its {type(made).__name__} has no fast form: save a tokenizer.json beside it"
        )
    tokenizer = Tokenizer.from_str(made.backend_tokenizer.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if config.model_type == "m2m_100":  # NLLB: its language comes from the prompt
        end = made.eos_token
        from tokenizers import processors

        tokenizer.post_processor = processors.TemplateProcessing(
            single=["$A", end], special_tokens=[(end, tokenizer.token_to_id(end))]
        )
    template = made.chat_template
    chat = template if isinstance(template, str) else None
    return tokenizer, None, chat, {key: str(value) for key, value in made.special_tokens_map.items()}


def _settings(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json; empty where there is none."""
    try:
        content = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
