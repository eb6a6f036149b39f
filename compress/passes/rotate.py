"""rotate: Hadamard matrices in the weights spread outliers over all numbers, and the model computes the same (QuaRot,
Ashkboos et al. 2024, arXiv:2404.00456; SpinQuant, Liu et al. 2024, arXiv:2405.16406, its rotations R1 and R2 without
learning; norms folded as in SliceGPT, Ashkboos et al. 2024, arXiv:2401.15024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from annotated_types import MinLen

from compress.errors import ModelError
from compress.passes.base import Context, Pass, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from compress.targets import Target

TOKENS = 32  # of a sentence, on which the model before and after is compared
EXACT = 1e-3  # share of the largest logit by which it may differ: float32's rounding through all layers is below


@register("rotate")
@dataclass(frozen=True)
class Rotate(Pass):
    """Rotate what text models compute in, by Hadamard matrices folded into the weights; exact in float.

    where  'residual': the stream between layers, of models whose norms are RMSNorms in front of their layers alone
           (Llama, Qwen, HunYuan, T5). 'values': the values of attention, each head by a matrix of its own, of all
           models. What of the two a model cannot have is left out, and told.
    untie  give a head that is tied to the embedding a weight of its own, which rotating 'residual' takes where the
           last norm's weights differ: bytes for the size of the embedding once more.

    It comes before pruning and quantization. No operator is added: what QuaRot rotates while the model runs (queries,
    keys, the inputs of down_proj) stays as it is. A T5's encoder gives out rotated states, as its decoder reads them.
    """

    where: Annotated[tuple[Literal["residual", "values"], ...], MinLen(1)] = ("residual", "values")
    untie: bool = False

    def problems(self, target: Target) -> list[str]:
        problems = []
        if len(set(self.where)) < len(self.where):
            problems.append(f"where: {', '.join(self.where)}: name each once")
        if self.untie and "residual" not in self.where:
            problems.append("untie has no effect without 'residual' in where: take it out")
        return problems

    def requires(self, model: nn.Module, context: Context) -> None:
        import torch

        from compress.models.masks import masked_layers
        from compress.models.quantized import refuse_quantized
        from compress.models.untying import head_is_tied

        refuse_quantized(model, self.name)
        if self.untie and not head_is_tied(model):
            raise ModelError(f"{self.name}: untie: no head is tied to the embedding: take it out")
        for name in masked_layers(model):
            told = "a rotation would fill its zeros: put it before the prune passes"
            raise ModelError(f"{self.name}: the weight of {name} is pruned already: {told}")
        for name, value in model.named_parameters():
            if value.dtype not in (torch.float32, torch.float64):
                kind = str(value.dtype).removeprefix("torch.")
                raise ModelError(f"{self.name}: {name} is {kind}, too coarse to be rotated: take model.float()")

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        import torch

        generator = torch.Generator().manual_seed(context.seed)
        example = tuple(tensor[:, :TOKENS] if tensor.dim() == 2 else tensor for tensor in context.example())
        expected = logits(model, example)
        reasons = []
        for part in self.where:
            try:
                rotate = self.rotate_residual if part == "residual" else self.rotate_values
                rotate(model, example, generator, context.notes)
            except ModelError as error:
                reasons.append(f"{part}: left out: {error}")
        if len(reasons) == len(self.where):
            raise ModelError("\n".join(f"{self.name}: {reason}" for reason in reasons))
        context.notes.extend(reasons)
        difference = float((logits(model, example) - expected).abs().max() / expected.abs().max())
        if not difference <= EXACT:
            told = f"the logits changed by {difference:.1e} of the largest"
            raise ModelError(f"{self.name}: {told}: the model computes with what is rotated in a way unknown here")
        return model

    def rotate_residual(
        self, model: nn.Module, example: tuple[Tensor, ...], generator: torch.Generator, notes: list[str]
    ) -> None:
        """Raises ModelError with the reason, and leaves the model as it is, where this is not possible."""
        from compress.models.calls import record
        from compress.models.layers import raw_weight
        from compress.models.residual import find_residual
        from compress.models.rotations import rotate_residual, tied_norm
        from compress.models.untying import untie_head
        from compress.numerics.hadamard import random_rotation

        residual = find_residual(model, record(model, *example))
        norm, table = tied_norm(model, residual), raw_weight(model.get_submodule(residual.table))
        assert table is not None
        if norm is not None and not self.untie:
            told = f"untie: true gives it a weight of its own, {table.nbytes:,} bytes more in float"
            raise ModelError(f"the head is tied to the embedding, and the weights of {norm.name} differ: {told}")
        if norm is not None:
            untie_head(model)
            notes.append(f"residual: the head has a weight of its own now: {table.nbytes:,} bytes more in float")
        rotation = random_rotation(residual.width, generator)
        rotate_residual(model, residual, rotation)
        count = len(residual.writers) + sum(len(norm.readers) for norm in residual.norms)
        notes.append(f"residual: {count} layers and the embedding, by {rotation.told}")

    def rotate_values(
        self, model: nn.Module, example: tuple[Tensor, ...], generator: torch.Generator, notes: list[str]
    ) -> None:
        """Raises ModelError where the model has no attention whose layers are known."""
        from compress.models.rotations import attention_values, rotate_values
        from compress.numerics.hadamard import random_rotation

        found = attention_values(model)
        if not found:
            raise ModelError("the model has no attention with linear layers for its values and its output")
        told: dict[str, None] = {}
        for values in found:
            rotation = random_rotation(values.head_dim, generator, values.key_heads)
            rotate_values(model, values, rotation)
            told[rotation.told] = None
        notes.append(
            f"values: {sum(v.key_heads for v in found)} heads of {len(found)} attentions, by {', '.join(told)}"
        )


def logits(model: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    import torch

    from compress.models.calls import forward, tensors

    with torch.no_grad():
        return tensors(forward(model, *inputs))[0]
