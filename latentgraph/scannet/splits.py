r"""The official split of ScanNet: by space, so that all scans of a space are on one side."""

from __future__ import annotations

import re

SPLITS = ("train", "val", "test")

# fmt: off
VAL_SPACES = (
    11, 15, 19, 25, 30, 46, 50, 63, 64, 77, 81, 84, 86, 88, 95, 100, 131, 139, 144, 146, 149, 153,
    164, 169, 187, 193, 196, 203, 207, 208, 217, 221, 222, 231, 246, 249, 251, 256, 257, 277, 278,
    300, 304, 307, 314, 316, 328, 329, 334, 338, 342, 343, 351, 353, 354, 355, 356, 357, 377, 378,
    382, 389, 406, 412, 414, 423, 426, 427, 430, 432, 435, 441, 458, 461, 462, 474, 488, 490, 494,
    496, 500, 518, 527, 535, 549, 550, 552, 553, 558, 559, 565, 568, 574, 575, 578, 580, 583, 591,
    593, 595, 598, 599, 606, 607, 608, 609, 616, 618, 621, 629, 633, 643, 644, 645, 647, 648, 651,
    652, 653, 655, 658, 660, 663, 664, 665, 670, 671, 678, 684, 685, 686, 689, 690, 693, 695, 696,
    697, 699, 700, 701, 702, 704,
)
# Scans of each space from 0 to 706; each space of test has one.
_NUM_SCANS = (
    "3223123113223311331221213313133321322132223232312134311322232231231321113431123233123233"
    "4311531231223622133112333233313123232132111331313311232321321132321312315312433132322321"
    "1311143111221113321313113313333313243132112132231121131332112223133121123131112331123422"
    "3321333222312323313111413213223223122323122312313311121141122211131231332331321122233232"
    "3312323213412312233212133331332313132111332332222112313222232113513333133241212121341212"
    "3111222333163211232211121221332332633223222121122311221111312331151133321123231121132321"
    "2311222131133313131332112321233312111112323232333133233332344323221133333212323234322332"
    "2111212212323373121211113141133222131223411211333233122226222332211123311122532434213332"
    "231"
)
# fmt: on
TEST_SPACES = tuple(range(707, 807))
TRAIN_SPACES = tuple(space for space in range(707) if space not in set(VAL_SPACES))


def spaces(split: str) -> tuple[int, ...]:
    r"""Space ids of ``"train"``, ``"val"`` or ``"test"``, ascending."""
    if split not in SPLITS:
        raise ValueError(f"split must be 'train', 'val' or 'test', got {split!r}")
    return {"train": TRAIN_SPACES, "val": VAL_SPACES, "test": TEST_SPACES}[split]


def scans_of(split: str) -> list[str]:
    r"""Names of the scans that the release has in a split: 1,201, 312 or 100, ascending."""
    numbers = dict(enumerate(map(int, _NUM_SCANS)))
    return [
        f"scene{space:04d}_{scan:02d}"
        for space in spaces(split)
        for scan in range(numbers.get(space, 1))
    ]


def is_of(scene: str, split: str) -> bool:
    r"""Whether a name is that of a scene of this split."""
    spaces(split)  # refuses what is no split
    try:
        return split_of(scene) == split
    except ValueError:
        return False


def split_of(scene: str) -> str:
    r"""The split that a scene such as ``"scene0011_00"`` belongs to.

    Raises:
        ValueError: If that is no scene name, or its space is in no split.
    """
    match = re.fullmatch(r"scene(\d{4})_\d{2}", scene)
    if match is None:
        raise ValueError(f"a scene name has the form scene0011_00, got {scene!r}")
    for split in SPLITS:
        if int(match[1]) in spaces(split):
            return split
    raise ValueError(f"{scene}: the official splits have spaces 0 to 806, got {int(match[1])}")
