"""Hadamard matrices, and random rotations made of them, which spread what is large in a few places over all of them.

A Hadamard matrix of order n has entries ±1 and H·Hᵀ = n·1.  Built here: Sylvester's (n a power of two), Paley's (1933,
"On orthogonal matrices": n = q + 1 for a prime q = 3 mod 4, n = 2·(q + 1) for a prime q = 1 mod 4), and Kronecker
products of one of Paley's and one of Sylvester's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Rotation:
    """A block-diagonal orthogonal matrix Q; each block is diag(signs of the block) · (core ⊗ Sylvester's) / √p.

    signs  [blocks, n], ±1, float64.
    core   [m, m], orthonormal, float64; n = m·p, and p is a power of two.
    told   what the blocks are, in words.
    """

    signs: Tensor
    core: Tensor
    told: str

    def __call__(self, x: Tensor) -> Tensor:
        """x·Q in float64, [..., blocks·n] → the same shape."""
        order = len(self.core)
        turned = x.to(self.signs).reshape(*x.shape[:-1], *self.signs.shape) * self.signs
        turned = self.core.T @ turned.reshape(*turned.shape[:-1], order, -1)
        return (fast_hadamard(turned) / math.sqrt(turned.shape[-1])).reshape(x.shape)

    def repeated(self, times: int) -> Rotation:
        """Each block so often, one after the other: of values that are read by several heads."""
        return Rotation(self.signs.repeat_interleave(times, 0), self.core, self.told)


def random_rotation(size: int, generator: torch.Generator, blocks: int = 1) -> Rotation:
    """Blocks of a Hadamard matrix with random signs (QuaRot, Ashkboos et al. 2024, arXiv:2404.00456, sec. 3).

    Where none is built of this size: of one orthogonal matrix, uniformly random (QR of a normal one, the diagonal of R
    made positive: Mezzadri 2007, arXiv:math-ph/0609050).
    """
    signs = torch.randint(0, 2, (blocks, size), generator=generator).double() * 2 - 1
    order = core_order(size)
    if order is not None:
        shape = f"{order} · {size // order}" if 1 < order < size else f"{size}"
        return Rotation(signs, hadamard(order) / math.sqrt(order), f"a Hadamard matrix of order {shape}")
    normal = torch.randn(size, size, generator=generator, dtype=torch.float64)
    core, triangle = torch.linalg.qr(normal)
    return Rotation(signs, core * triangle.diagonal().sign(), f"a random orthogonal matrix of order {size}, by QR")


def hadamard(order: int) -> Tensor:
    """A Hadamard matrix, float64 [order, order].  Raises ValueError if none of this order is built here."""
    core = core_order(order)
    if core is None:
        raise ValueError(f"no Hadamard matrix of order {order} is built here")
    sylvester = fast_hadamard(torch.eye(order // core, dtype=torch.float64))
    return torch.kron(_paley(core), sylvester)


def core_order(size: int) -> int | None:
    """The smallest m such that a Hadamard matrix of order `size` is Paley's of order m (or 1) times Sylvester's; None
    where there is no such matrix."""
    power = size & -size  # the largest power of two in it
    orders = (size // (power >> shift) for shift in range(power.bit_length()))
    return next((order for order in orders if order == 1 or _paley_prime(order) is not None), None)


def fast_hadamard(x: Tensor) -> Tensor:
    """x·H for Sylvester's H over the last axis, whose size is a power of two: n·log₂ n additions a row, no division."""
    size, half = x.shape[-1], 1
    shape = x.shape
    while half < size:
        pairs = x.reshape(*shape[:-1], -1, 2, half)
        first, second = pairs.unbind(-2)
        x = torch.stack((first + second, first - second), -2)
        half *= 2
    return x.reshape(shape)


def _paley(order: int) -> Tensor:
    """Paley's matrix of an order that has one, or [[1]].

    χ(a − b) of the residues of q, with a border of ±1, is the conference matrix S, S·Sᵀ = q·1: antisymmetric for
    q = 3 mod 4, where 1 + S is Hadamard; else symmetric, where each of its numbers becomes a block of 2×2.
    """
    if order == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    prime = _paley_prime(order)
    assert prime is not None
    character = torch.full((prime,), -1.0, dtype=torch.float64)
    character[[number * number % prime for number in range(1, prime)]] = 1.0
    character[0] = 0.0
    numbers = torch.arange(prime)
    conference = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    conference[1:, 1:] = character[(numbers[:, None] - numbers) % prime]
    conference[0, 1:] = 1.0
    conference[1:, 0] = -1.0 if prime % 4 == 3 else 1.0
    one = torch.eye(prime + 1, dtype=torch.float64)
    if prime % 4 == 3:
        return one + conference
    return torch.kron(conference, conference.new_tensor([[1, 1], [1, -1]])) + torch.kron(
        one, one.new_tensor([[1, -1], [-1, -1]])
    )


def _paley_prime(order: int) -> int | None:
    """The prime q of Paley's first or second construction of this order."""
    if order % 4:
        return None
    if _is_prime(order - 1):
        return order - 1
    half = order // 2 - 1
    return half if half % 4 == 1 and _is_prime(half) else None


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, math.isqrt(number) + 1))
