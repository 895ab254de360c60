r"""A COCO-format data set to try detectors on: disks, squares and triangles on noise.

``python examples/coco_shapes.py FOLDER`` writes ``FOLDER/train`` and ``FOLDER/val``, each with
``images/`` and ``annotations.json``.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("disk", "square", "triangle")
HEIGHT, WIDTH = 96, 128


def shape(kind: str, size: float, middle: tuple[float, float]) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH] - np.reshape(middle, (2, 1, 1))
    if kind == "disk":
        return x * x + y * y <= size * size
    if kind == "square":
        return np.maximum(abs(x), abs(y)) <= size
    return (abs(y) <= size) & (2 * abs(x) <= y + size)


def run_lengths(mask: np.ndarray) -> dict:
    r"""COCO's uncompressed RLE: lengths of runs of 0 and 1, column by column, 0 first."""
    columns = mask.T.ravel().astype(np.int8)
    edges = np.flatnonzero(np.diff(columns, prepend=0, append=1 - columns[-1]))
    return {"size": list(mask.shape), "counts": np.diff(edges, prepend=0).tolist()}


def write_split(folder: Path, num_images: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    images, annotations = [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(1, num_images + 1):
        picture = random.normal(110, 30, (HEIGHT, WIDTH, 3))
        taken = np.zeros((HEIGHT, WIDTH), bool)
        for _ in range(random.integers(1, 5)):
            kind = random.integers(len(NAMES))
            size = random.uniform(8, 20)
            middle = random.uniform(size, np.array([HEIGHT, WIDTH]) - size)
            mask = shape(NAMES[kind], size, middle)
            if (mask & taken).any():
                continue
            taken |= mask
            picture[mask] = random.uniform(0, 255, 3) + random.normal(0, 15, (mask.sum(), 3))
            (top, left), (bottom, right) = np.argwhere(mask).min(0), np.argwhere(mask).max(0) + 1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(kind) + 1,
                    "bbox": [int(v) for v in (left, top, right - left, bottom - top)],
                    "area": int(mask.sum()),
                    "segmentation": run_lengths(mask),
                    "iscrowd": 0,
                }
            )
        name = f"{number:05}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / "images" / name)
        images.append({"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH})
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    written = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(written))


def write_shapes(folder: Path, num_train: int, num_val: int) -> None:
    write_split(folder / "train", num_train, seed=0)
    write_split(folder / "val", num_val, seed=1)


if __name__ == "__main__":
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/coco_shapes")
    write_shapes(to, num_train=160, num_val=40)
    print(f"200 images of {', '.join(NAMES)} in {to}")
