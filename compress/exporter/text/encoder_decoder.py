"""Encoder–decoder models as two graphs over one file of weights: an encoder, and a decoder for first and later tokens.

Attention is MultiHeadAttention.  The decoder's `use_cache_branch` decides whether the keys and values of the encoder's
output are computed or taken from the past: that alone is an If; where it is false the decoder's own past is cut to
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch

from compress.exporter.text.activations import activation
from compress.exporter.text.builder import BOOL, END, FLOAT, INT32, INT64, MICROSOFT, Builder, Size
from compress.exporter.text.linear import Layers, num_rows
from compress.exporter.text.stacks import Block, Stack, stack_of

if TYPE_CHECKING:
    from compress.exporter.text.weightfile import WeightFile

MASKED = float(np.finfo(np.float32).min) / 2  # finite: a row in which all is masked must not become NaN

Sublayer = tuple[Callable[[ir.Value], ir.Value], Any]  # what it computes, and its norm


def encoder_decoder(model: Any, weights: WeightFile) -> tuple[ir.Model, ir.Model]:
    """(encoder, decoder) of a transformers …ForConditionalGeneration or MarianMTModel, their weights in `weights`.

    Raises ModelError for an architecture that is not known here.
    """
    return _Encoder(model, stack_of(model, "encoder"), weights).build(), _Decoder(
        model, stack_of(model, "decoder"), weights
    ).build()


class _Graph:
    """What the two graphs have in common."""

    def __init__(self, model: Any, stack: Stack, weights: WeightFile) -> None:
        self.model, self.config, self.stack = model, model.config, stack
        self.builder = Builder(weights)
        self.layers = Layers(self.builder, model)
        self.heads, self.head_dim = stack.heads, stack.head_dim

    def _embedded(self, ids: ir.Value, past: ir.Value | None = None) -> ir.Value:
        """Tokens and, where the model adds them, positions; `past` int64 [1] tokens came before."""
        b, stack = self.builder, self.stack
        hidden = self.layers.embedding(stack.embedding, ids)
        if stack.embed_scale != 1.0:
            hidden = b.op("Mul", hidden, b.scalar(stack.embed_scale))
        if stack.frequencies is None:
            return hidden
        return b.op("Add", hidden, self._sinusoids(ids, past, stack.frequencies))

    def _sinusoids(self, ids: ir.Value, past: ir.Value | None, frequencies: torch.Tensor) -> ir.Value:
        """[batch or 1, sequence, width]: sines, then cosines, of the positions."""
        b, real = self.builder, None
        if self.stack.padding is None:
            positions = b.once("Unsqueeze", self._range(past, b.size(ids, 1)), b.integers(0))
        else:  # counted are the tokens that are not padding, from padding + 1 on; padding itself has a row of zeros
            padding = b.scalar(self.stack.padding, np.int64)
            real = b.op("Not", b.op("Equal", ids, padding))
            counted = b.op("CumSum", b.cast(real, INT64), b.scalar(1, np.int64))
            positions = b.op("Add", counted if past is None else b.op("Add", counted, past), padding)
        row = b.initializer(frequencies.detach().float().cpu().numpy()[None, None], "position_frequencies")
        angles = b.op("Mul", b.op("Unsqueeze", b.cast(positions, FLOAT), b.integers(2)), row)
        waves = b.op("Concat", b.op("Sin", angles), b.op("Cos", angles), axis=2)
        return waves if real is None else b.op("Mul", waves, b.op("Unsqueeze", b.cast(real, FLOAT), b.integers(2)))

    def _range(self, past: ir.Value | None, length: ir.Value) -> ir.Value:
        """int64 [length]: past, past + 1, …"""
        b = self.builder
        count, zero, one = b.once("Squeeze", length), b.scalar(0, np.int64), b.scalar(1, np.int64)
        if past is None:
            return b.once("Range", zero, count, one)
        first = b.once("Squeeze", past)
        return b.once("Range", first, b.once("Add", first, count), one)

    def _distances(self, queries: ir.Value, keys: ir.Value) -> ir.Value | None:
        """The bias of relative positions [1, heads, queries, keys] in every layer, if the model has one."""
        table = self.stack.distance_bias
        if table is None:
            return None
        b, reach = self.builder, (table.shape[0] - 1) // 2
        distances = b.op("Sub", b.op("Unsqueeze", keys, b.integers(0)), b.op("Unsqueeze", queries, b.integers(1)))
        least, most = b.scalar(-reach, np.int64), b.scalar(reach, np.int64)
        rows = b.op("Add", b.op("Clip", distances, least, most), most)
        bias = b.op("Gather", b.initializer(table.float().cpu().numpy(), "distance_bias"), rows, axis=0)
        return b.op("Unsqueeze", b.op("Transpose", bias, perm=[2, 0, 1]), b.integers(0))

    def _run(self, x: ir.Value, sublayers: Sequence[Sublayer]) -> ir.Value:
        """The residual stream through all sublayers, and the final norm."""
        if not self.stack.norm_first:
            for compute, norm in sublayers:
                x, _ = self._add_and_norm(x, compute(x), norm)
            return x if self.stack.final_norm is None else self._norm(x, self.stack.final_norm)
        normed = self._norm(x, sublayers[0][1])
        followed_by = [*(norm for _, norm in sublayers[1:]), self.stack.final_norm]
        for (compute, _), norm in zip(sublayers, followed_by, strict=True):
            normed, x = self._add_and_norm(x, compute(normed), norm)
        return normed

    def _norm(self, x: ir.Value, module: Any) -> ir.Value:
        kind = "SimplifiedLayerNormalization" if self.stack.rms_norm else "LayerNormalization"
        return self.builder.op(kind, x, *self._gains(module), axis=-1, epsilon=_epsilon(module))

    def _add_and_norm(self, x: ir.Value, y: ir.Value, module: Any) -> tuple[ir.Value, ir.Value]:
        """The norm of x + y, and x + y."""
        kind = "SkipSimplifiedLayerNormalization" if self.stack.rms_norm else "SkipLayerNormalization"
        normed, _, _, added = self.builder.ops(
            kind, x, y, *self._gains(module), num_outputs=4, domain=MICROSOFT, epsilon=_epsilon(module)
        )
        return normed, added

    def _gains(self, module: Any) -> list[ir.Value]:
        name = self.layers.names[module]
        found = {part: getattr(module, part, None) for part in ("weight", "bias")}
        return [
            self.builder.initializer(value.detach().float().cpu().numpy(), f"{name}.{part}")
            for part, value in found.items()
            if value is not None
        ]

    def _feed_forward(self, block: Block) -> Sublayer:
        def compute(x: ir.Value) -> ir.Value:
            first, *gate = self.layers.linears(block.feed_in, x)
            value = activation(self.builder, self.stack.activation, first)
            for factor in gate:
                value = self.builder.op("Mul", value, factor)
            return self.layers.linear(block.feed_out, value)

        return compute, block.feed_norm

    def _attend(
        self, query: ir.Value, key: ir.Value, value: ir.Value, *others: ir.Value | None, num_outputs: int, causal: bool
    ) -> tuple[ir.Value, ...]:
        """others: mask of the keys [batch, keys], bias of the scores, past keys and values."""
        return self.builder.ops(
            "MultiHeadAttention",
            *(query, key, value, None, *others),
            num_outputs=num_outputs,
            domain=MICROSOFT,
            num_heads=self.heads,
            scale=self.stack.scaling,
            mask_filter_value=MASKED,
            unidirectional=int(causal),
        )


class _Encoder(_Graph):
    def build(self) -> ir.Model:
        b = self.builder
        ids = b.input("input_ids", INT64, ["batch", "encoder_sequence"])
        mask = b.cast(b.input("attention_mask", INT64, ["batch", "encoder_sequence"]), INT32)
        tokens = self._range(None, b.size(ids, 1))
        bias = self._distances(tokens, tokens)
        sublayers: list[Sublayer] = []
        for block in self.stack.blocks:
            sublayers += [self._attention(block, mask, bias), self._feed_forward(block)]
        width = int(self.config.d_model)
        hidden = self._run(self._embedded(ids), sublayers)
        b.output(hidden, "last_hidden_state", FLOAT, ["batch", "encoder_sequence", width])
        return b.model()

    def _attention(self, block: Block, mask: ir.Value, bias: ir.Value | None) -> Sublayer:
        def compute(x: ir.Value) -> ir.Value:
            parts = self.layers.linears(block.attention.inputs, x)
            [attended] = self._attend(*parts, mask, bias, num_outputs=1, causal=False)
            return self.layers.linear(block.attention.output, attended)

        return compute, block.attention_norm


class _Decoder(_Graph):
    def build(self) -> ir.Model:
        b, count = self.builder, len(self.stack.blocks)
        encoder_mask = b.input("encoder_attention_mask", INT64, ["batch", "encoder_sequence"])
        ids = b.input("input_ids", INT64, ["batch", "sequence"])
        states = b.input("encoder_hidden_states", FLOAT, ["batch", "encoder_sequence", int(self.config.d_model)])
        pasts = [self._past(index) for index in range(count)]
        use_cache = b.input("use_cache_branch", BOOL, [1])
        keep = b.optional_input("logits_to_keep", np.array(0, np.int64))

        mask = b.cast(encoder_mask, INT32)
        end = b.op("Where", use_cache, b.integers(END), b.integers(0))
        own = [[b.slice(value, 2, b.integers(0), end) for value in past[:2]] for past in pasts]
        length = b.size(own[0][0], 2)
        crossed = self._crossed(use_cache, states, [past[2:] for past in pasts])
        bias = None
        if self.stack.distance_bias is not None:
            queries = self._range(length, b.size(ids, 1))
            keys = self._range(None, b.once("Add", length, b.size(ids, 1)))
            bias = self._distances(queries, keys)

        presents: list[tuple[ir.Value, ...]] = []
        sublayers: list[Sublayer] = []
        for block, past, cross in zip(self.stack.blocks, own, crossed, strict=True):
            sublayers += [
                self._self_attention(block, past, bias, presents),
                self._cross_attention(block, cross, mask),
                self._feed_forward(block),
            ]
        hidden = self._run(self._embedded(ids, length), sublayers)
        vocabulary = num_rows(self.model.lm_head)
        b.output(self._logits(hidden, keep), "logits", FLOAT, ["batch", "sequence", vocabulary])
        for index, (present, cross) in enumerate(zip(presents, crossed, strict=True)):
            for part, values, steps in (
                ("decoder", present, "past_decoder_sequence+sequence"),
                ("encoder", cross, "encoder_sequence"),
            ):
                for name, value in zip(("key", "value"), values, strict=True):
                    shape: list[Size] = ["batch", self.heads, steps, self.head_dim]
                    b.output(value, f"present.{index}.{part}.{name}", FLOAT, shape)
        return b.model()

    def _past(self, index: int) -> list[ir.Value]:
        """Of one layer: own keys, own values, the encoder's keys, the encoder's values."""
        lengths = {"decoder": "past_decoder_sequence", "encoder": "past_encoder_sequence"}
        return [
            self.builder.input(
                f"past_key_values.{index}.{part}.{name}", FLOAT, ["batch", self.heads, lengths[part], self.head_dim]
            )
            for part in lengths
            for name in ("key", "value")
        ]

    def _crossed(
        self, use_cache: ir.Value, states: ir.Value, pasts: Sequence[Sequence[ir.Value]]
    ) -> list[tuple[ir.Value, ...]]:
        """Keys and values of the encoder's output for every layer: those of the past, or computed."""
        kept, computed = self.builder.branch("kept"), self.builder.branch("computed")
        layers = self.layers.inside(computed)
        for index, (past, block) in enumerate(zip(pasts, self.stack.blocks, strict=True)):
            assert block.cross is not None
            names = [f"{index}.{part}" for part in ("key", "value")]
            found = layers.linears(block.cross.inputs[1:], states)
            for name, before, value in zip(names, past, found, strict=True):
                shape: list[Size] = ["batch", self.heads, "encoder_sequence", self.head_dim]
                split = computed.reshape(value, 0, 0, self.heads, self.head_dim)
                value = computed.op("Transpose", split, perm=[0, 2, 1, 3])
                computed.output(value, f"computed.{name}", FLOAT, shape)
                kept.output(kept.op("Identity", before), f"kept.{name}", FLOAT, shape)
        values = self.builder.ops(
            "If",
            use_cache,
            num_outputs=2 * len(pasts),
            then_branch=kept.graph,
            else_branch=computed.graph,
        )
        return [values[index : index + 2] for index in range(0, len(values), 2)]

    def _self_attention(
        self, block: Block, past: Sequence[ir.Value], bias: ir.Value | None, presents: list[tuple[ir.Value, ...]]
    ) -> Sublayer:
        def compute(x: ir.Value) -> ir.Value:
            parts = self.layers.linears(block.attention.inputs, x)
            attended, *present = self._attend(*parts, None, bias, *past, num_outputs=3, causal=True)
            presents.append(tuple(present))
            return self.layers.linear(block.attention.output, attended)

        return compute, block.attention_norm

    def _cross_attention(self, block: Block, cross: Sequence[ir.Value], mask: ir.Value) -> Sublayer:
        attention = block.cross
        assert attention is not None

        def compute(x: ir.Value) -> ir.Value:
            query = self.layers.linear(attention.inputs[0], x)
            key, value = cross
            [attended] = self._attend(query, key, value, mask, num_outputs=1, causal=False)
            return self.layers.linear(attention.output, attended)

        return compute, block.cross_norm

    def _logits(self, hidden: ir.Value, keep: ir.Value) -> ir.Value:
        """Of the last `keep` positions; 0: of all."""
        b = self.builder
        kept = b.slice(hidden, 1, b.op("Reshape", b.op("Neg", keep), b.integers(1)), b.integers(END))
        if self.stack.output_scale != 1.0:
            kept = b.op("Mul", kept, b.scalar(self.stack.output_scale))
        logits = self.layers.linear(self.model.lm_head, kept)
        bias = getattr(self.model, "final_logits_bias", None)
        if bias is None or not bool(bias.any()):
            return logits
        return b.op("Add", logits, b.initializer(bias.detach().float().cpu().numpy().reshape(-1), "final_logits_bias"))


def _epsilon(module: Any) -> float:
    return float(module.eps if hasattr(module, "eps") else module.variance_epsilon)
