r"""A small ResNet on handwritten digits, with each block of the family behind its second stage.

The digits are the 1,797 images of 8 x 8 pixels that come with scikit-learn. What a non-local block
has learned there is then asked, as GCNet did: do its attention maps depend on the query?
"""

from functools import partial
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from latentgraph.inspection import costs, draw_attention, query_independence, record
from latentgraph.nn import (
    GlobalContext,
    LatentGNN,
    NonLocal,
    SimplifiedNonLocal,
    SqueezeExcitation,
)
from latentgraph.plug import insert

BLOCKS = {
    "none": None,
    "SqueezeExcitation": partial(SqueezeExcitation, ratio=1 / 4),
    "SimplifiedNonLocal": SimplifiedNonLocal,
    "GlobalContext": partial(GlobalContext, ratio=1 / 4),
    "LatentGNN": partial(LatentGNN, latent_dims=(8,)),
    "NonLocal": NonLocal,
}


class Residual(nn.Module):
    def __init__(self, channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.skip = nn.Conv2d(channels, out_channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.skip(x)).relu()


def resnet() -> nn.Sequential:
    return nn.Sequential(
        Residual(1, 16),
        Residual(16, 32),  # 8 x 8 positions
        Residual(32, 64, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    found = load_digits()
    images = torch.from_numpy(found.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(found.target)
    train, test = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=0.7, stratify=labels, random_state=0
    )
    return images[train], labels[train], images[test], labels[test]


def train(network: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    steps = epochs * -(-len(images) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(32):
            optimizer.zero_grad()
            cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    network.eval()


def main(epochs: int = 10, out: str = "runs/image_classification") -> dict[str, float]:
    train_images, train_labels, images, labels = digits()
    print(f"{len(train_images)} digits to learn from, {len(images)} to test, one seed, so that")
    print("differences of a few images are noise; multiply-adds are those of one image")
    print(f"{'block':20}{'accuracy':>10}{'parameters':>12}{'multiply-adds':>15}")
    accuracy = {}
    for name, block in BLOCKS.items():
        torch.manual_seed(0)
        network = resnet()
        if block is not None:
            insert(network, "1", block)
        train(network, train_images, train_labels, epochs)
        with torch.no_grad():
            accuracy[name] = (network(images).argmax(1) == labels).float().mean().item()
        cost, _ = costs(network, images[:1])
        print(
            f"{name:20}{accuracy[name]:10.1%}{cost.parameters:12,}{cost.multiply_adds:15,}",
            flush=True,
        )

    [call] = record(network, images[:128], at=NonLocal)  # the last of the blocks
    print("\nmean cosine distance between the positions of an image, at the trained NonLocal block")
    for name, distance in query_independence(call)._asdict().items():
        print(f"  {name:10}{distance.distinct:7.4f}   {distance.all:.4f} as GCNet averages")
    picture = Path(out, "attention.png")
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw_attention(call, [0, 27, 36, 61], image=images[0]).savefig(picture, dpi=150)
    print(f"attention maps of four positions of a digit: {picture}")
    return accuracy


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
