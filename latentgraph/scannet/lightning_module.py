r"""Training and evaluation of a :class:`~latentgraph.scannet.segmenter.Segmenter` by Lightning."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch_geometric.data import Data

from latentgraph.scannet import checkpoint as checkpoints
from latentgraph.scannet.data_module import SceneDataModule
from latentgraph.scannet.labels import IGNORE_INDEX
from latentgraph.scannet.network_config import NetworkConfig
from latentgraph.scannet.score import Score, confusion_matrix
from latentgraph.scannet.segmenter import Segmenter
from latentgraph.scannet.votes import Votes

TRAINING = "latentgraph_training"  # what a checkpoint of a run says of it, beside the network


class SegmentationModule(LightningModule):
    r"""Cross entropy on voxels, under a one-cycle schedule.

    Evaluation counts on the original vertices, in one confusion matrix over all scenes and
    processes.

    Args:
        network: The network to train.
        optimizer: ``"adamw"``, or ``"sgd"`` with a Nesterov momentum of 0.9.
        learning_rate: Its peak.
        weight_decay: Of the optimizer.
        warmup: Share of the steps in which the learning rate rises.
        start: What the peak is divided by at the first step.
        class_weights: Whether classes count by :math:`1 / \sqrt{\text{frequency}}`, or all alike.
        votes: How evaluation looks at a scene; null for once, the whole of it.
    """

    class_weight: Tensor
    confusion: Tensor

    def __init__(
        self,
        network: NetworkConfig,
        optimizer: Literal["adamw", "sgd"] = "adamw",
        learning_rate: float = 0.005,
        weight_decay: float = 0.01,
        warmup: float = 0.2,
        start: float = 25.0,
        class_weights: bool = True,
        votes: Votes | None = None,
    ) -> None:
        super().__init__()
        # Torch's own complaints come later, when there are files of the run already.
        if learning_rate < 0 or weight_decay < 0 or not 0 <= warmup <= 1 or start <= 0:
            raise ValueError(
                "expected learning_rate and weight_decay of 0 or more, warmup from 0 to 1 and "
                f"start above 0, got {learning_rate}, {weight_decay}, {warmup} and {start}"
            )
        self.segmenter = Segmenter(network)
        self.optimizer = optimizer
        self.start = start
        self.class_weights = class_weights
        self.votes = votes
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        classes = self.segmenter.labels.num_classes
        self.register_buffer("class_weight", torch.ones(classes))
        self.confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)

    @property
    def data(self) -> SceneDataModule:
        r"""The data module that the trainer was given."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, SceneDataModule):
            raise TypeError(f"expected a SceneDataModule, got {type(data).__name__}")
        return data

    def setup(self, stage: str) -> None:
        if stage != "fit":
            return
        self.segmenter.trained_on = self.data.trained_on()
        if not self.class_weights:
            return
        frequency = self.data.class_counts().to(self.class_weight)
        weight = torch.where(frequency > 0, frequency.clamp(min=1).rsqrt(), 0)
        self.class_weight = weight / weight[weight > 0].mean()

    def on_fit_start(self) -> None:
        count = sum(p.numel() for p in self.segmenter.parameters())
        rank_zero_info(f"{count:,} parameters")

    def context_batch(self, batch: Data) -> Tensor | None:
        r"""Which voxels share their context, for experiments; None for those of a scene."""
        return None

    def forward(self, batch: Data) -> Tensor:
        scores: Tensor = self.segmenter(batch, self.context_batch(batch))
        return scores

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        scores = self(batch).float()
        # Written out, since the mean of torch is NaN where no voxel of a batch has a label.
        total = F.cross_entropy(
            scores, batch.y, self.class_weight, ignore_index=IGNORE_INDEX, reduction="sum"
        )
        weight = self.class_weight[batch.y[batch.y != IGNORE_INDEX]].sum()
        loss = total / weight.clamp(min=1e-6)
        self.log("train/loss", loss, prog_bar=True, batch_size=batch.num_graphs)
        return loss

    def on_validation_epoch_start(self) -> None:
        # No buffer: those of the first process would take the place of all others.
        self.confusion = torch.zeros_like(self.confusion, device=self.device)

    def validation_step(self, batch: Data, batch_idx: int) -> None:
        if self.votes is None:
            predicted, target = self(batch).argmax(dim=1)[batch.voxel_index], batch.vertex_y
        else:
            predicted, target = self.segmenter.predict(batch, self.votes).to(batch.y), batch.y
        self.confusion += confusion_matrix(predicted, target, len(self.confusion))

    def on_validation_epoch_end(self) -> None:
        self.confusion = self.trainer.strategy.reduce(self.confusion, reduce_op="sum")
        self.log("val/mIoU", 100 * self.score().miou, prog_bar=True, sync_dist=True)

    def score(self) -> Score:
        r"""The score of the last evaluation, over all processes."""
        return Score(self.confusion.cpu(), self.segmenter.labels)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer: torch.optim.Optimizer
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimizer == "sgd":
            optimizer = torch.optim.SGD(
                self.parameters(), rate, momentum=0.9, weight_decay=decay, nesterov=True
            )
        else:
            optimizer = torch.optim.AdamW(self.parameters(), rate, weight_decay=decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self.learning_rate,
            total_steps=steps,
            # It divides by the length of a rise, which is 0 where one step is all of it.
            pct_start=self.warmup if self.warmup * steps > 1.0 else 0.0,
            div_factor=self.start,
            cycle_momentum=self.optimizer == "adamw",
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[checkpoints.KEY] = checkpoints.describe(self.segmenter)
        checkpoint[TRAINING] = self._settings()

    def _settings(self) -> dict[str, Any]:
        r"""What a run that goes on cannot change, as its optimizer and its order are given."""
        names = ("optimizer", "learning_rate", "weight_decay", "warmup", "start", "class_weights")
        ours = {name: getattr(self, name) for name in names}
        return ours | {"seed": self.data.seed, "mix": self.data.mix}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        theirs = NetworkConfig.from_dict(checkpoint[checkpoints.KEY]["network"]).as_dict()
        ours = self.segmenter.config.as_dict()
        if TRAINING in checkpoint:
            theirs, ours = theirs | checkpoint[TRAINING], ours | self._settings()
        if theirs != ours:
            names = [name for name in ours if theirs.get(name) != ours[name]]
            differences = ", ".join(f"{n} {theirs.get(n)} and not {ours[n]}" for n in names)
            raise ValueError(f"the checkpoint to go on from was trained with {differences}")

    def on_train_start(self) -> None:
        steps = int(self.trainer.estimated_stepping_batches)
        theirs = getattr(self.lr_schedulers(), "total_steps", steps)
        if theirs != steps:
            raise ValueError(
                f"the checkpoint to go on from has a schedule of {theirs} steps, this run one of "
                f"{steps}: keep epochs, batch size, scenes and devices as they were"
            )
