"""Decoder-only models as one graph, written operator by operator in onnxruntime's fused operators.

Attention is MultiHeadAttention over the heads of keys and values: the query heads that share one are further rows of
its query, so that no key is repeated.  GroupQueryAttention refuses several new tokens after a cache at batches above
1, which is how prompts with a common beginning are read, and is 1.2 … 1.9 times slower for one new token (18 layers
of 4 heads of 256 with one for keys and values, 200 tokens before, two threads, a busy machine: 16 ms against 11; at
batch 4: 89 against 46); it wins only on a whole prompt of 300 tokens at once (325 against 515).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from compress.errors import ModelError, unknown
from compress.exporter.text.activations import activation
from compress.exporter.text.builder import BOOL, END, FLOAT, INT64, MICROSOFT, Builder, Size
from compress.exporter.text.linear import Layers, num_rows
from compress.exporter.text.rotary import Rotary, rotaries

if TYPE_CHECKING:
    from torch import nn

    from compress.exporter.text.weightfile import WeightFile

MASKED = float(np.finfo(np.float32).min) / 2  # finite: a row in which all is masked must not become NaN


@dataclass(frozen=True)
class Family:
    """What sets one architecture apart from another.

    query_norm, key_norm   names of the norms over a head, or empty.
    norm_after_rotary      they come after the rotation, not before it.
    unit_offset            norms multiply by 1 + weight.
    sandwich               a norm after attention and after the feed-forward part too.
    """

    query_norm: str = ""
    key_norm: str = ""
    norm_after_rotary: bool = False
    unit_offset: bool = False
    sandwich: bool = False


FAMILIES = {
    "gemma3_text": Family("q_norm", "k_norm", unit_offset=True, sandwich=True),
    "hunyuan_v1_dense": Family("query_layernorm", "key_layernorm", norm_after_rotary=True),
    "llama": Family(),
    "qwen2": Family(),
    "qwen3": Family("q_norm", "k_norm"),
}


def decoder_only(model: Any, weights: WeightFile) -> ir.Model:
    """The graph of a transformers …ForCausalLM, its weights written into `weights`.

    Raises ModelError for an architecture, or a variant of one, that is not known here.
    """
    return _Decoder(model, weights).build()


def check_known(config: Any) -> Family:
    """Raises ModelError for what this exporter would get wrong."""
    if config.model_type not in FAMILIES:
        raise ModelError(unknown("decoder architecture", config.model_type, FAMILIES))
    for name, plain in (("use_bidirectional_attention", (None, False)), ("attn_logit_softcapping", (None,))):
        if getattr(config, name, None) not in plain:
            raise ModelError(f"{config.model_type}: {name}: {getattr(config, name)}: not supported: only without it")
    return FAMILIES[config.model_type]


class _Decoder:
    def __init__(self, model: Any, weights: WeightFile) -> None:
        self.config, self.family = model.config, check_known(model.config)
        self.model, self.body = model, model.model
        self.builder = Builder(weights)
        self.layers = Layers(self.builder, model)
        config = self.config
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(getattr(config, "num_key_value_heads", None) or self.heads)
        self.head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self.shared = self.heads // self.kv_heads  # query heads that read one head of keys and values
        self.epsilon = float(config.rms_norm_eps)

    def build(self) -> ir.Model:
        b, body = self.builder, self.body
        ids = b.input("input_ids", INT64, ["batch", "sequence"])
        mask = b.input("attention_mask", INT64, ["batch", "past+sequence"])
        positions = b.input("position_ids", INT64, ["batch", "sequence"])
        cache: list[Size] = ["batch", self.kv_heads, "past", self.head_dim]
        pasts = [
            tuple(b.input(f"past_key_values.{i}.{part}", FLOAT, cache) for part in ("key", "value"))
            for i in range(len(body.layers))
        ]
        keep = b.optional_input("logits_to_keep", np.array(0, np.int64))
        self.masks: dict[int | None, ir.Value] = {}
        turns = rotaries(b, body, positions)

        hidden = self._embedded(ids)
        normed, presents = self._norm(hidden, body.layers[0].input_layernorm), []
        for i, layer in enumerate(body.layers):
            following = body.layers[i + 1].input_layernorm if i + 1 < len(body.layers) else body.norm
            rotary = turns.get(getattr(layer.self_attn, "layer_type", None) or "", turns.get(""))
            assert rotary is not None
            attended, *present = self._attention(layer.self_attn, normed, pasts[i], (ids, mask), rotary)
            presents.append(present)
            if self.family.sandwich:
                attended = self._norm(attended, layer.post_attention_layernorm)
            before = layer.pre_feedforward_layernorm if self.family.sandwich else layer.post_attention_layernorm
            normed, hidden = self._add_and_norm(hidden, attended, before)
            fed = self._feed_forward(layer.mlp, normed)
            if self.family.sandwich:
                fed = self._norm(fed, layer.post_feedforward_layernorm)
            normed, hidden = self._add_and_norm(hidden, fed, following)

        b.output(self._logits(normed, keep), "logits", FLOAT, ["batch", "sequence", num_rows(self.model.lm_head)])
        grown: list[Size] = ["batch", self.kv_heads, "past+sequence", self.head_dim]
        for i, present in enumerate(presents):
            for part, value in zip(("key", "value"), present, strict=True):
                b.output(value, f"present.{i}.{part}", FLOAT, grown)
        return b.model()

    def _mask(self, ids: ir.Value, mask: ir.Value, window: int | None) -> ir.Value:
        """What is added to a score: 0 or MASKED, [batch, 1, sequence·heads a key head, past+sequence].

        A token sees itself and those before it that are no padding, the last `window` of them.
        """
        if window not in self.masks:
            b = self.builder
            zero, one = b.scalar(0, np.int64), b.scalar(1, np.int64)
            total = b.once("Squeeze", b.size(mask, 1))
            past = b.once("Sub", total, b.once("Squeeze", b.size(ids, 1)))
            queries = b.once("Reshape", b.once("Range", past, total, one), b.integers(-1, 1))
            keys = b.once("Range", zero, total, one)
            seen = b.once("LessOrEqual", keys, queries)
            if window is not None:
                seen = b.op("And", seen, b.op("Greater", keys, b.op("Sub", queries, b.scalar(window, np.int64))))
            real = b.once("Unsqueeze", b.once("Cast", mask, to=BOOL), b.integers(1, 2))
            both = b.op("And", b.op("Unsqueeze", seen, b.integers(0, 1)), real)
            bias = b.op("Where", both, b.scalar(0.0), b.scalar(MASKED))
            if self.shared > 1:  # each token's row as often as it has heads
                bias = b.op("Unsqueeze", bias, b.integers(3))
                bias = b.op("Expand", bias, b.integers(1, 1, 1, self.shared, 1))
                sizes = [b.size(mask, 0), b.integers(1), b.integers(-1), b.size(mask, 1)]
                bias = b.op("Reshape", bias, b.once("Concat", *sizes, axis=0))
            self.masks[window] = bias
        return self.masks[window]

    def _embedded(self, ids: ir.Value) -> ir.Value:
        embedding = self.body.embed_tokens
        hidden = self.layers.embedding(embedding, ids)
        scale = getattr(embedding, "embed_scale", None)
        return hidden if scale is None else self.builder.op("Mul", hidden, self.builder.scalar(float(scale)))

    def _attention(
        self,
        attention: Any,
        x: ir.Value,
        past: tuple[ir.Value, ...],
        tokens: tuple[ir.Value, ir.Value],
        rotary: Rotary,
    ) -> tuple[ir.Value, ...]:
        """x [batch, sequence, width] → the same, and the present keys and values."""
        query, key, value = self.layers.linears([attention.q_proj, attention.k_proj, attention.v_proj], x)
        query = self._turned(query, self.heads, self.family.query_norm, attention, rotary)
        key = self._turned(key, self.kv_heads, self.family.key_norm, attention, rotary)
        attended, *present = self.builder.ops(
            "MultiHeadAttention",
            *(self._heads_to_rows(query), key, value, None, None),
            *(self._mask(*tokens, getattr(attention, "sliding_window", None)), *past),
            num_outputs=3,
            domain=MICROSOFT,
            num_heads=self.kv_heads,
            scale=float(attention.scaling),
        )
        return self.layers.linear(attention.o_proj, self._rows_to_heads(attended)), *present

    def _heads_to_rows(self, query: ir.Value) -> ir.Value:
        """[batch, sequence, heads·dim] → [batch, sequence·(heads a key head), key heads·dim]."""
        b, kv_heads, dim = self.builder, self.kv_heads, self.head_dim
        if self.shared == 1:
            return query
        if kv_heads > 1:
            query = b.op("Transpose", b.reshape(query, 0, 0, kv_heads, self.shared, dim), perm=[0, 1, 3, 2, 4])
        return b.reshape(query, 0, -1, kv_heads * dim)

    def _rows_to_heads(self, attended: ir.Value) -> ir.Value:
        """The way back."""
        b, kv_heads, dim = self.builder, self.kv_heads, self.head_dim
        if self.shared == 1:
            return attended
        if kv_heads > 1:
            attended = b.op("Transpose", b.reshape(attended, 0, -1, self.shared, kv_heads, dim), perm=[0, 1, 3, 2, 4])
        return b.reshape(attended, 0, -1, self.heads * dim)

    def _turned(self, x: ir.Value, heads: int, norm: str, attention: Any, rotary: Rotary) -> ir.Value:
        """x [batch, sequence, heads·head_dim], normed over each head and rotated, in the family's order."""
        if norm and not self.family.norm_after_rotary:
            x = self._norm_heads(x, heads, getattr(attention, norm))
        x = rotary(x, heads, self.head_dim)
        if norm and self.family.norm_after_rotary:
            x = self._norm_heads(x, heads, getattr(attention, norm))
        return x

    def _norm_heads(self, x: ir.Value, heads: int, module: nn.Module) -> ir.Value:
        b = self.builder
        normed = self._norm(b.reshape(x, 0, 0, heads, self.head_dim), module)
        return b.reshape(normed, 0, 0, heads * self.head_dim)

    def _feed_forward(self, mlp: Any, x: ir.Value) -> ir.Value:
        b = self.builder
        gate, up = self.layers.linears([mlp.gate_proj, mlp.up_proj], x)
        name = getattr(self.config, "hidden_activation", None) or self.config.hidden_act
        return self.layers.linear(mlp.down_proj, b.op("Mul", activation(b, name, gate), up))

    def _norm(self, x: ir.Value, module: nn.Module) -> ir.Value:
        return self.builder.op(
            "SimplifiedLayerNormalization", x, self._gain(module), axis=-1, epsilon=self.epsilon, stash_type=1
        )

    def _add_and_norm(self, x: ir.Value, y: ir.Value, module: nn.Module) -> tuple[ir.Value, ir.Value]:
        """The norm of x + y, and x + y."""
        normed, _, _, added = self.builder.ops(
            "SkipSimplifiedLayerNormalization",
            *(x, y, self._gain(module)),
            num_outputs=4,
            domain=MICROSOFT,
            epsilon=self.epsilon,
        )
        return normed, added

    def _gain(self, module: Any) -> ir.Value:
        weight = module.weight.detach().float().cpu()
        return self.builder.initializer(
            (weight + 1.0 if self.family.unit_offset else weight).numpy(), f"{self.layers.names[module]}.weight"
        )

    def _logits(self, hidden: ir.Value, keep: ir.Value) -> ir.Value:
        """Of the last `keep` positions; 0: of all."""
        b = self.builder
        first = b.op("Reshape", b.op("Neg", keep), b.integers(1))
        kept = b.slice(hidden, 1, first, b.integers(END))
        logits = self.layers.linear(self.model.lm_head, kept)
        cap = getattr(self.config, "final_logit_softcapping", None)
        if cap is None:
            return logits
        limit = b.scalar(float(cap))
        return b.op("Mul", b.op("Tanh", b.op("Div", logits, limit)), limit)
