r"""Cascade R-CNN's heads: boxes are classified and moved three times, each from where they are.

`Cascade R-CNN: Delving into High Quality Object Detection <https://arxiv.org/abs/1712.00726>`_
(CVPR 2018), with masks. It takes the place of the ``roi_heads`` of a torchvision Mask R-CNN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import MultiScaleRoIAlign, batched_nms, clip_boxes_to_image

# Scales of the box deltas of each stage.
DELTA_WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
LEAST_SCORE, NMS_OVERLAP, MOST_DETECTIONS = 0.05, 0.5, 100


class BoxPredictor(nn.Module):
    r"""Class scores, and one movement of the box whatever its class."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes)
        self.bbox_pred = nn.Linear(in_channels, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class Stage(nn.Module):
    r"""Heads of one stage, named as torchvision's."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.box_head = TwoMLPHead(channels * 7**2, 1024)
        self.box_predictor = BoxPredictor(1024, num_classes)
        self.mask_head = MaskRCNNHeads(channels, (256,) * 4, 1)
        self.mask_predictor = MaskRCNNPredictor(256, 256, num_classes)


class CascadeHeads(nn.Module):
    r"""Three stages of heads, for evaluation.

    Args:
        channels: of the feature pyramid.
        num_classes: with the background.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        levels = ["0", "1", "2", "3"]
        self.box_roi_pool = MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2)
        self.mask_roi_pool = MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2)
        self.stages = nn.ModuleList(Stage(channels, num_classes) for _ in DELTA_WEIGHTS)

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        r"""Detections of each image, and no losses."""
        if self.training:
            raise NotImplementedError("expected eval mode: the cascade has no losses here")
        counts = [len(boxes) for boxes in proposals]
        scores = []
        for stage, weights in zip(self.stages, DELTA_WEIGHTS, strict=True):
            pooled = self.box_roi_pool(features, proposals, image_shapes)
            score, deltas = stage.box_predictor(stage.box_head(pooled))
            moved = BoxCoder(weights).decode(deltas, proposals).squeeze(1).split(counts)
            proposals = [
                clip_boxes_to_image(b, s) for b, s in zip(moved, image_shapes, strict=True)
            ]
            scores.append(score.softmax(-1))
        mean = torch.stack(scores).mean(0).split(counts)
        found = [_detections(b, s) for b, s in zip(proposals, mean, strict=True)]

        pooled = self.mask_roi_pool(features, [d["boxes"] for d in found], image_shapes)
        logits = torch.stack([s.mask_predictor(s.mask_head(pooled)) for s in self.stages]).mean(0)
        masks = maskrcnn_inference(logits, [d["labels"] for d in found])
        return [d | {"masks": m} for d, m in zip(found, masks, strict=True)], {}


def _detections(boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
    r"""The best boxes, (n, 4), by their scores, (n, classes), of which the first is background."""
    row, label = (scores[:, 1:] > LEAST_SCORE).nonzero(as_tuple=True)
    boxes, scores, label = boxes[row], scores[row, label + 1], label + 1
    kept = batched_nms(boxes, scores, label, NMS_OVERLAP)[:MOST_DETECTIONS]
    return {"boxes": boxes[kept], "labels": label[kept], "scores": scores[kept]}
