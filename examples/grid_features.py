r"""Context in a convolutional network: what color is the light?

Every image is a mosaic of random colors under a light of one color, which every pixel has to tell.
A small patch may be red because of its paint or because of the light; the whole image tells more.
``OnGrid`` puts a block of this library between two convolutions.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from latentgraph.nn import GlobalContext, LatentGNN, OnGrid

CHANNELS = 32


def mosaics(count: int) -> tuple[Tensor, Tensor]:
    paint = interpolate(torch.rand(count, 3, 8, 8), scale_factor=3)
    light = 0.3 + 0.7 * torch.rand(count, 3, 1, 1)
    return paint * light, light.expand_as(paint)


def error_after_training(context: nn.Module, steps: int) -> float:
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1),
        nn.ReLU(),
        context,
        nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(CHANNELS, 3, 1),
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        image, light = mosaics(16)
        optimizer.zero_grad()
        mse_loss(network(image), light).backward()
        optimizer.step()
    image, light = mosaics(200)
    with torch.no_grad():
        return (mse_loss(network(image), light) / light.var()).item()


def main(steps: int = 200) -> tuple[float, float, float]:
    torch.manual_seed(0)
    none = error_after_training(nn.Identity(), steps)
    global_context = error_after_training(OnGrid(GlobalContext(CHANNELS, ratio=1 / 4)), steps)
    latent_gnn = error_after_training(OnGrid(LatentGNN(CHANNELS, latent_dims=(8,))), steps)
    print("squared error on new images, as a share of the variance")
    print(f"  convolutions          {none:6.1%}")
    print(f"  with GlobalContext    {global_context:6.1%}")
    print(f"  with LatentGNN        {latent_gnn:6.1%}")
    return none, global_context, latent_gnn


if __name__ == "__main__":
    main()
