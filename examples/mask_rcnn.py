r"""Mask R-CNN with LatentGNN behind c3, c4 and c5, on a folder in COCO's format.

Without arguments a small network learns from generated images of shapes, in less than a minute:

    python examples/mask_rcnn.py

On COCO, resuming where a run was stopped:

    python examples/mask_rcnn.py --backbone resnet50 --out runs/coco --epochs 12 --lr 1e-4 \
        --images coco/train2017 --annotations coco/annotations/instances_train2017.json \
        --val-images coco/val2017 --val-annotations coco/annotations/instances_val2017.json
"""

import argparse
import os
from collections import OrderedDict
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from coco_shapes import write_shapes
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.transforms.functional import to_tensor
from tqdm import tqdm

from latentgraph.nn import LatentGNN
from latentgraph.plug import insert

LATENTS = {"layer2": 150, "layer3": 100, "layer4": 50}  # c3, c4 and c5, as published


class CocoFolder(Dataset):
    r"""Images, and for each its boxes (x1, y1, x2, y2), masks, and labels from 1."""

    def __init__(self, images: Path, annotations: Path) -> None:
        for path in (images, annotations):
            if not path.exists():
                raise SystemExit(f"expected {path}, which does not exist")
        with redirect_stdout(None):
            self.coco = COCO(annotations)
        self.images, self.ids = images, sorted(self.coco.getImgIds())
        self.categories = sorted(self.coco.getCatIds())
        if not self.ids or not self.categories:
            raise SystemExit(f"expected images and categories in {annotations}, found none")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        number = self.ids[index]
        path = self.images / self.coco.loadImgs(number)[0]["file_name"]
        with Image.open(path) as file:
            image = to_tensor(file.convert("RGB"))
        things = self.coco.loadAnns(self.coco.getAnnIds(number, iscrowd=False))
        things = [thing for thing in things if min(thing["bbox"][2:]) > 0]
        boxes = torch.tensor([thing["bbox"] for thing in things]).view(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        masks = np.zeros((len(things), *image.shape[1:]), np.uint8)
        for mask, thing in zip(masks, things, strict=True):
            mask[:] = self.coco.annToMask(thing)
        labels = [1 + self.categories.index(thing["category_id"]) for thing in things]
        return image, {
            "boxes": boxes,
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": torch.from_numpy(masks),
            "image_id": number,
        }


def stage(channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.GroupNorm(8, out_channels),
        nn.ReLU(),
    )


def small(num_classes: int) -> MaskRCNN:
    r"""Five stages and narrow heads, for images about a hundred pixels wide."""
    widths, width = [32, 64, 96, 128], 48
    body = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 16, 3, stride=2, padding=1)))
    for i, (channels, out_channels) in enumerate(pairwise([16, *widths]), 1):
        body.add_module(f"layer{i}", stage(channels, out_channels))
    layers = {f"layer{i}": str(i - 1) for i in (1, 2, 3, 4)}
    sizes = tuple((size,) for size in (12, 20, 32, 48, 64))
    return MaskRCNN(
        BackboneWithFPN(body, layers, widths, width),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        rpn_pre_nms_top_n_train=200,
        rpn_post_nms_top_n_train=50,
        rpn_pre_nms_top_n_test=200,
        rpn_post_nms_top_n_test=50,
        box_batch_size_per_image=16,
        box_head=TwoMLPHead(width * 7 * 7, 128),
        box_predictor=FastRCNNPredictor(128, num_classes),
        mask_head=MaskRCNNHeads(width, (width, width), dilation=1),
        mask_predictor=MaskRCNNPredictor(width, width, num_classes),
        min_size=96,
        max_size=128,
    )


def network(backbone: str, num_classes: int, weights: str | None) -> MaskRCNN:
    if backbone == "small":
        model = small(num_classes)
    else:
        model = maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=weights, num_classes=num_classes
        )
    for layer, latents in LATENTS.items():
        insert(
            model,
            f"backbone.body.{layer}",
            lambda c, d=latents: LatentGNN(c, (d,), reduction=8, graph_conv=True),
        )
    return model


def together(items: list[Any]) -> list[tuple[Any, ...]]:
    return list(zip(*items, strict=True))


def loader(data: CocoFolder, options: argparse.Namespace, shuffle: bool) -> DataLoader:
    workers, size = options.workers, options.batch_size
    return DataLoader(data, size, shuffle, num_workers=workers, collate_fn=together)


def train(model: MaskRCNN, data: CocoFolder, options: argparse.Namespace) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, options.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    state = {"model": model, "optimizer": optimizer, "schedule": schedule}
    checkpoint, first = options.out / "last.pt", 0
    if options.resume and checkpoint.exists():
        kept = torch.load(checkpoint, map_location=options.device, weights_only=True)
        first = kept["epoch"]
        for name, part in state.items():
            part.load_state_dict(kept[name])
    batches = loader(data, options, shuffle=True)
    for epoch in range(first, options.epochs):
        torch.manual_seed(epoch)  # so that a resumed run is the same
        model.train()
        with tqdm(batches, desc=f"epoch {epoch + 1} of {options.epochs}", disable=None) as bar:
            for images, targets in bar:
                loss = step(model, images, targets, options.device)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 10)
                optimizer.step()
                bar.set_postfix(loss=f"{loss.item():.3f}")
        schedule.step()
        kept = {name: part.state_dict() for name, part in state.items()}
        torch.save({**kept, "epoch": epoch + 1}, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)


def step(model: MaskRCNN, images: Any, targets: Any, device: str) -> Tensor:
    images = [image.to(device) for image in images]
    on_device = [
        {key: value.to(device) for key, value in target.items() if isinstance(value, Tensor)}
        for target in targets
    ]
    return sum(model(images, on_device).values())


@torch.no_grad()
def detect(model: MaskRCNN, data: CocoFolder, options: argparse.Namespace) -> list[dict[str, Any]]:
    r"""What the network finds, as COCO's list of results."""
    model.eval()
    results = []
    for images, targets in tqdm(loader(data, options, shuffle=False), "evaluate", disable=None):
        outputs = model([image.to(options.device) for image in images])
        for target, output in zip(targets, outputs, strict=True):
            found = {key: value.cpu() for key, value in output.items()}
            masks = (found["masks"][:, 0] > 0.5).byte().numpy()
            boxes = found["boxes"].clone()
            boxes[:, 2:] -= boxes[:, :2]
            for i, mask in enumerate(masks):
                results.append(
                    {
                        "image_id": target["image_id"],
                        "category_id": data.categories[int(found["labels"][i]) - 1],
                        "bbox": boxes[i].tolist(),
                        "segmentation": rle.encode(np.asfortranarray(mask)),
                        "score": float(found["scores"][i]),
                    }
                )
    return results


def average_precision(data: CocoFolder, results: list[dict[str, Any]], kind: str) -> list[float]:
    r"""AP over IoU 0.50 to 0.95, and at 0.50, of boxes ("bbox") or masks ("segm")."""
    if not results:
        return [0.0, 0.0]
    with redirect_stdout(None):
        found = data.coco.loadRes(results)
        evaluation = COCOeval(data.coco, found, kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return [float(value) for value in evaluation.stats[:2]]


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description="Mask R-CNN with LatentGNN behind c3, c4 and c5.")
    parser.add_argument("--images", type=Path, help="folder of images; by default shapes are drawn")
    parser.add_argument("--annotations", type=Path, help="their annotations, COCO's JSON")
    parser.add_argument("--val-images", type=Path)
    parser.add_argument("--val-annotations", type=Path)
    parser.add_argument("--backbone", choices=("small", "resnet50"), default="small")
    parser.add_argument("--weights", help="of the ResNet-50, a name that torchvision can download")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/mask_rcnn"))
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    options = parser.parse_args(arguments)
    given = [options.images, options.annotations, options.val_images, options.val_annotations]
    options.out.mkdir(parents=True, exist_ok=True)
    if given == [None] * 4:
        write_shapes(options.out / "shapes", num_train=120, num_val=40)
        folders = [options.out / "shapes" / split for split in ("train", "val")]
        given = [path for f in folders for path in (f / "images", f / "annotations.json")]
    elif None in given:
        parser.error("expected --images, --annotations, --val-images and --val-annotations")
    data, val = CocoFolder(*given[:2]), CocoFolder(*given[2:])
    if val.categories != data.categories:
        parser.error(f"expected the same categories to evaluate, got {val.categories}")

    if options.backbone == "small":
        torch.set_num_threads(1)  # small tensors lose more to waiting threads than they gain
    torch.manual_seed(0)
    model = network(options.backbone, 1 + len(data.categories), options.weights)
    train(model.to(options.device), data, options)
    results = detect(model, val, options)
    print(f"{len(val)} images, {len(results)} detections; average precision, from 0 to 1, of")
    scores = {}
    for name, kind in (("boxes", "bbox"), ("masks", "segm")):
        mean, half = average_precision(val, results, kind)
        scores[name] = mean
        print(f"  {name}  {mean:.3f} (mean over overlaps of 0.50 to 0.95), {half:.3f} (at 0.50)")
    return scores


if __name__ == "__main__":
    main()
