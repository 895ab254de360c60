r"""A linear map and a norm over its outputs, as a function of rows."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from latentgraph.functional.linear import channels_first, linear
from latentgraph.functional.precision import wide
from latentgraph.functional.tracing import is_followed
from latentgraph.nn.batch_norm import batch_norm, needs_all_rows

Norm = Literal["layer_norm", "batch_norm"]


class LinearNorm(nn.Module):
    r"""A linear map without bias, then a norm: :math:`\mathrm{norm}(x W)`.

    Args:
        in_channels: size of a row.
        out_channels: size of an output row.
        norm: ``"layer_norm"`` over the channels of a row, ``"batch_norm"`` over all rows of a call,
            or None.
        device: where the parameters live.
        dtype: dtype of the parameters.

    Raises:
        TypeError: a width that is no int.
        ValueError: a width below 1, or below 2 under layer norm, which would make it constant.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm: Norm | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: dict[str, Any] = {"device": device, "dtype": dtype}
        if type(out_channels) is not int:
            raise TypeError(f"expected every inner width as an int, got {out_channels!r}")
        least = 2 if norm == "layer_norm" else 1
        if out_channels < least:
            raise ValueError(
                f"expected every inner width to be at least {least} with norm={norm!r}, "
                f"got {out_channels}"
            )
        self.linear = nn.Linear(in_channels, out_channels, bias=False, **factory)
        self.norm = make_norm(norm, out_channels, **factory)

    def reset_parameters(self) -> None:
        r"""New random weights; the norm as it starts."""
        self.linear.reset_parameters()
        if self.norm is not None:
            self.norm.reset_parameters()

    @property
    def needs_all_rows(self) -> bool:
        r"""Whether the output of a row depends on the others, as batch norm's in training does."""
        return needs_all_rows(self.norm)

    def rows(self, scale: Tensor | None = None) -> RowFunction:
        r"""The map as a function of rows, with batch norm in eval folded into the product.

        Args:
            scale: (1,), multiplies the output.
        """
        norm = self.norm
        weight: Tensor = self.linear.weight
        if isinstance(norm, nn.LayerNorm):
            affine: tuple[Tensor, Tensor] = (norm.weight, norm.bias)
            if scale is not None:
                affine = (norm.weight * scale, norm.bias * scale)
            return RowFunction(weight, layer_norm=(*affine, norm.eps))
        if norm is None:
            return RowFunction(weight if scale is None else weight * scale)
        if self.needs_all_rows:
            return RowFunction(weight, batch_norm=norm, scale=scale)
        weight, bias = _folded(self.linear.weight, norm)
        if scale is not None:
            weight, bias = weight * scale, bias * scale
        return RowFunction(weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        r"""(..., in_channels) to (..., out_channels), float32 or wider."""
        return self.rows()(x)


class RowFunction:
    r"""A linear map and what follows it, on rows, with the tensors that it uses.

    The product runs in the dtype of its input, or in autocast's; what follows in float32 or wider.
    Without gradients, layer norm takes the mean over outputs from the weight, once, and not from
    every row: torch's takes longer, but has the faster backward pass.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        layer_norm: tuple[Tensor, Tensor, float] | None = None,
        batch_norm: nn.Module | None = None,
        scale: Tensor | None = None,
    ) -> None:
        self.weight, self.bias = weight, bias
        self.layer_norm, self.batch_norm, self.scale = layer_norm, batch_norm, scale
        self._centered: tuple[Tensor, Tensor | None] | None = None

    @property
    def out_channels(self) -> int:
        r"""Size of an output row."""
        return self.weight.size(0)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        r"""Every tensor used."""
        listed = [self.weight, self.bias, self.scale, *(self.layer_norm or ())[:2]]
        if self.batch_norm is not None:
            listed += self.batch_norm.parameters()
        return tuple(t for t in listed if t is not None)

    def gives_rows(self, x: Tensor) -> bool:
        r"""Whether torch's layer norm follows now, whose output is contiguous whatever ``x`` is."""
        return self.layer_norm is not None and (torch.is_grad_enabled() or is_followed(x))

    def __call__(self, x: Tensor) -> Tensor:
        if self.layer_norm is None or self.gives_rows(x):
            return self._normalized(linear(x, self.weight, self.bias))
        if self._centered is None:
            bias = None if self.bias is None else _centered(self.bias)
            self._centered = _centered(self.weight), bias
        y = _scaled_rows(wide(linear(x, *self._centered)), *self.layer_norm)
        return y if self.scale is None else y * self.scale

    def follow(self, product: Tensor) -> Tensor:
        r"""What comes after the product with the weight."""
        return self._normalized(product if self.bias is None else product + self.bias)

    def _normalized(self, y: Tensor) -> Tensor:
        y = wide(y)
        if self.layer_norm is not None:
            gain, shift, eps = self.layer_norm
            y = F.layer_norm(y, gain.shape, gain.to(y.dtype), shift.to(y.dtype), eps)
        elif self.batch_norm is not None:
            dtype = next(self.batch_norm.parameters()).dtype
            y = wide(batch_norm(self.batch_norm, y.flatten(0, -2).to(dtype)).view(y.shape))
        return y if self.scale is None else y * self.scale


def _centered(weight: Tensor) -> Tensor:
    r"""A weight, or a bias, of outputs whose mean is zero in every row."""
    centered = wide(weight)
    centered = centered - centered.mean(0)
    return centered - centered.mean(0)  # of what was rounded


def _scaled_rows(y: Tensor, gain: Tensor, shift: Tensor, eps: float) -> Tensor:
    r"""Layer norm of rows whose mean is zero, written to them."""
    if channels_first(y):  # whose lengths torch takes ten times as long for as for those of rows
        y.mul_(y.square().mean(-1, keepdim=True).add_(eps).rsqrt_())
        return y.mul_(gain.to(y.dtype)).add_(shift.to(y.dtype))
    deviation = torch.linalg.vector_norm(y, dim=-1, keepdim=True).mul_(y.size(-1) ** -0.5)
    y.mul_(deviation.square_().add_(eps).rsqrt_())
    return torch.addcmul(shift.to(y.dtype), y, gain.to(y.dtype), out=y)


def make_norm(
    norm: Norm | None,
    channels: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.LayerNorm | nn.BatchNorm1d | None:
    r"""The norm of that name: torch's over channels, torch's over all nodes of a call, or none."""
    if norm is None:
        return None
    if norm == "layer_norm":
        return nn.LayerNorm(channels, device=device, dtype=dtype)
    if norm == "batch_norm":
        return nn.BatchNorm1d(channels, device=device, dtype=dtype)
    raise ValueError(f"expected norm 'layer_norm', 'batch_norm' or None, got {norm!r}")


def _folded(weight: Tensor, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    r"""Weight and bias of a linear map that does what the product and an eval batch norm do."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (wide(norm.running_var) + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight
    bias = -wide(norm.running_mean) * factor
    if norm.bias is not None:
        bias = bias + norm.bias
    return (weight * factor.unsqueeze(1)).to(weight.dtype), bias
