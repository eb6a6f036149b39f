"""Translators of random weights in a few kilobytes: true attention, true caches, and the names of those that ship."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from compress.data.prompts import Prompt

WIDTH, HEADS, SIZE, POSITIONS = 16, 2, 8, 512
SPECIALS = ("<pad>", "<s>", "</s>", "<fr>", "<de>")
PAD, BOS, EOS, FR, DE = range(5)
VOCABULARY = 256 + len(SPECIALS)
SHARP = 6.0  # of the logits: random networks else find all tokens alike

DECODER_PROMPT = Prompt(
    languages={"en": "English", "fr": "French", "de": "German"},
    template="{examples}{source_language}: {source}\n{target_language}:",
    example="{source_language}: {source}\n{target_language}: {target}\n\n",
    shots={"en-fr": (("One.", "Un."), ("Two!", "Deux !"), ("Three?", "Trois ?"))},
    separator=" ",
)
ENCODER_PROMPT = Prompt(
    languages={"en": "English", "fr": "French", "de": "German"},
    target_tokens={"fr": ("<fr>",), "de": ("<de>",)},
)


def tokenizer() -> Tokenizer:
    """Bytes, each a token, after the specials; an encoder's text ends with </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIALS, *alphabet))}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return made


class Graph:
    """Writes a graph node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.random = np.random.default_rng(seed)

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        return self.constant((self.random.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def size(self, of: str, axis: int) -> str:
        return self.op("Shape", of, start=axis, end=axis + 1)

    def scalar(self, of: str) -> str:
        return self.op("Squeeze", of)

    def heads(self, x: str) -> str:
        """[rows, columns, width] → [rows, heads, columns, size]."""
        shaped = self.op("Reshape", x, self.constant(np.array([0, 0, HEADS, SIZE])))
        return self.op("Transpose", shaped, perm=[0, 2, 1, 3])

    def attend(self, query: str, key: str, value: str, allowed: str) -> str:
        """Heads of all three, allowed broadcast to [rows, heads, columns, keys] → [rows, columns, width], projected."""
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        masked = self.op("Where", allowed, scores, self.constant(np.float32(-1e9)))
        mixed = self.op("MatMul", self.op("Softmax", masked, axis=-1), value)
        flat = self.op("Transpose", mixed, perm=[0, 2, 1, 3])
        flat = self.op("Reshape", flat, self.constant(np.array([0, 0, WIDTH])))
        return self.op("MatMul", flat, self.weight(WIDTH, WIDTH))

    def causal(self, columns: str, keys: str) -> str:
        """[columns, keys]: the last `columns` of the keys look back.  Both are int64 [1]."""
        whole, zero, one = self.scalar(keys), self.constant(np.int64(0)), self.constant(np.int64(1))
        first = self.op("Sub", whole, self.scalar(columns))
        rows = self.op("Unsqueeze", self.op("Range", first, whole, one), self.constant(np.array([1])))
        return self.op("LessOrEqual", self.op("Range", zero, whole, one), rows)

    def head(self, x: str, kept: bool) -> None:
        if kept:
            start = self.op("Reshape", self.op("Neg", "logits_to_keep"), self.constant(np.array([1])))
            far, axis = self.constant(np.array([2**62])), self.constant(np.array([1]))
            x = self.op("Slice", x, start, far, axis)
        self.op("MatMul", self.op("Tanh", x), self.weight(WIDTH, VOCABULARY, scale=SHARP / 4), output="logits")

    def save(self, path: Path, inputs: Sequence[Any], outputs: Sequence[Any], kept: bool = False) -> None:
        inputs, weights = list(inputs), list(self.weights)
        if kept:
            inputs.append(helper.make_tensor_value_info("logits_to_keep", TensorProto.INT64, []))
            weights.append(numpy_helper.from_array(np.array(0, np.int64), "logits_to_keep"))
        graph = helper.make_graph(self.nodes, "graph", inputs, list(outputs), weights)
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
        onnx.checker.check_model(model)
        onnx.save(model, path)


def integers(name: str, *shape: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.INT64, shape)


def floats(name: str, *shape: str | int) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def cache(*names: str) -> list[Any]:
    return [floats(name, "rows", HEADS, f"{name}_length", SIZE) for name in names]


def write_decoder(
    directory: Path, prompt: Prompt = DECODER_PROMPT, *, kept: bool = True, context: int = POSITIONS, **generation: Any
) -> Path:
    """A decoder of two layers, with its tokenizer, prompt and settings."""
    directory.mkdir(parents=True, exist_ok=True)
    g = Graph()
    x = g.op("Add", g.op("Gather", g.weight(VOCABULARY, WIDTH), "input_ids"), position(g, "position_ids"))
    columns, keys = g.size("input_ids", 1), g.size("attention_mask", 1)
    real = g.op("Cast", "attention_mask", to=TensorProto.BOOL)
    real = g.op("Unsqueeze", real, g.constant(np.array([1, 2])))
    allowed = g.op("And", g.causal(columns, keys), real)
    for layer in range(2):
        x = self_attention(g, x, allowed, f"{layer}.", g.op("Identity", f"past_key_values.{layer}.key"))
    g.head(x, kept)
    names = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    given = [integers("input_ids", "rows", "columns"), integers("attention_mask", "rows", "keys")]
    given += [integers("position_ids", "rows", "columns"), *cache(*(f"past_key_values.{name}" for name in names))]
    g.save(
        directory / "model.onnx",
        given,
        [floats("logits", "rows", "kept", VOCABULARY), *cache(*(f"present.{name}" for name in names))],
        kept,
    )
    write_rest(
        directory, prompt, context, {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD, **generation}
    )
    return directory


def position(g: Graph, positions: str) -> str:
    return g.op("Gather", g.weight(POSITIONS, WIDTH), positions)


def self_attention(g: Graph, x: str, allowed: str, name: str, past_key: str, past_value: str = "") -> str:
    past_value = past_value or f"past_key_values.{name}value"
    query, key, value = (g.heads(g.op("MatMul", x, g.weight(WIDTH, WIDTH))) for _ in range(3))
    key = g.op("Concat", past_key, key, axis=2, output=f"present.{name}key")
    value = g.op("Concat", past_value, value, axis=2, output=f"present.{name}value")
    return g.op("Add", x, g.attend(query, key, value, allowed))


def write_encoder_decoder(
    directory: Path, prompt: Prompt = ENCODER_PROMPT, *, kept: bool = True, context: int = POSITIONS, **generation: Any
) -> Path:
    """An encoder of one layer and a decoder of one, with their tokenizer, prompt and settings."""
    directory.mkdir(parents=True, exist_ok=True)
    e = Graph(seed=1)
    e.op("Tanh", e.op("Gather", e.weight(VOCABULARY, WIDTH, scale=1.0), "input_ids"), output="embedded")
    one, zero = e.constant(np.int64(1)), e.constant(np.int64(0))
    places = e.op("Range", zero, e.scalar(e.size("input_ids", 1)), one)
    x = e.op("Add", "embedded", position(e, places))
    real = e.op("Cast", "attention_mask", to=TensorProto.BOOL)
    allowed = e.op("Unsqueeze", real, e.constant(np.array([1, 2])))
    query, key, value = (e.heads(e.op("MatMul", x, e.weight(WIDTH, WIDTH))) for _ in range(3))
    e.op("Add", x, e.attend(query, key, value, allowed), output="last_hidden_state")
    given = [integers("input_ids", "rows", "columns"), integers("attention_mask", "rows", "columns")]
    e.save(directory / "encoder_model.onnx", given, [floats("last_hidden_state", "rows", "columns", WIDTH)])

    g = Graph(seed=2)
    again = g.op("Cast", "use_cache_branch", to=TensorProto.INT64)
    start, axis = g.constant(np.array([0])), g.constant(np.array([2]))
    length = g.op("Mul", g.size("past_key_values.0.decoder.key", 2), again)
    past = {part: g.op("Slice", f"past_key_values.0.decoder.{part}", start, length, axis) for part in ("key", "value")}
    columns = g.size("input_ids", 1)
    keys = g.op("Add", columns, length)
    places = g.op("Range", g.scalar(length), g.scalar(keys), g.constant(np.int64(1)))
    x = g.op("Add", g.op("Gather", g.weight(VOCABULARY, WIDTH), "input_ids"), position(g, places))
    x = self_attention(g, x, g.causal(columns, keys), "0.decoder.", past["key"], past["value"])
    real = g.op("Cast", "encoder_attention_mask", to=TensorProto.BOOL)
    crossed = [cross(g, part) for part in ("key", "value")]
    seen = g.attend(
        g.heads(g.op("MatMul", x, g.weight(WIDTH, WIDTH))),
        *crossed,
        g.op("Unsqueeze", real, g.constant(np.array([1, 2]))),
    )
    g.head(g.op("Add", x, seen), kept)
    names = [f"0.{side}.{part}" for side in ("decoder", "encoder") for part in ("key", "value")]
    given = [
        integers("encoder_attention_mask", "rows", "encoder_columns"),
        integers("input_ids", "rows", "columns"),
        floats("encoder_hidden_states", "rows", "encoder_columns", WIDTH),
        *cache(*(f"past_key_values.{name}" for name in names)),
        helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1]),
    ]
    g.save(
        directory / "decoder_model_merged.onnx",
        given,
        [floats("logits", "rows", "kept", VOCABULARY), *cache(*(f"present.{name}" for name in names))],
        kept,
    )
    settings = {"decoder_start_token_id": EOS, "eos_token_id": EOS, "pad_token_id": PAD, **generation}
    write_rest(directory, prompt, context, settings)
    return directory


def cross(g: Graph, part: str) -> str:
    """The encoder's keys or values: from the past, or computed."""
    past, made, output = f"past_key_values.0.encoder.{part}", f"made_{part}", f"present.0.encoder.{part}"
    weight = g.weight(WIDTH, WIDTH)
    shape = g.constant(np.array([0, 0, HEADS, SIZE]))
    given = helper.make_graph([helper.make_node("Identity", [past], ["again"])], "again", [], [floats("again")])
    nodes = [
        helper.make_node("MatMul", ["encoder_hidden_states", weight], ["flat"]),
        helper.make_node("Reshape", ["flat", shape], ["split"]),
        helper.make_node("Transpose", ["split"], [made], perm=[0, 2, 1, 3]),
    ]
    computed = helper.make_graph(nodes, "made", [], [floats(made)])
    for branch in (given, computed):
        branch.output[0].type.tensor_type.ClearField("shape")
    return g.op("If", "use_cache_branch", output=output, then_branch=given, else_branch=computed)


def write_rest(directory: Path, prompt: Prompt, context: int, generation: dict[str, Any]) -> None:
    tokenizer().save(str(directory / "tokenizer.json"))
    (directory / "translation.json").write_text(prompt.to_json())
    (directory / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    (directory / "generation_config.json").write_text(json.dumps(generation))


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    chances = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return chances / chances.sum(axis=-1, keepdims=True)
