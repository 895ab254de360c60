import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentgraph.scannet.labels import SCANNET20, SCANNET200, LabelSet
from latentgraph.scannet.score import Score, class_iou, confusion_matrix, mean_iou

THREE = LabelSet("three", (1, 5, 8), ("wall", "chair", "door"), ((0, 0, 0),) * 3)


def _score(prediction: list[int], target: list[int]) -> Score:
    return Score(confusion_matrix(_vector(prediction), _vector(target), 3), THREE)


def test_by_hand() -> None:
    #        wall: 2 hits, 1 miss; chair: 1 hit, 1 false alarm; door: 1 hit, 1 miss to chair
    score = _score([0, 0, 1, 1, 2], [0, 0, 0, 1, 2])
    assert score.confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert score.iou.tolist() == [2 / 3, 1 / 2, 1.0]
    assert score.miou == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert score.absent == []


def test_unannotated_vertices_do_not_count() -> None:
    assert _score([0, 1, 2, 1], [0, -1, -1, 3]).confusion.tolist() == [
        [1, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize("outside", [-1, 3, 39, 1 << 40])
def test_a_prediction_outside_is_a_miss_and_no_false_alarm(outside: int) -> None:
    score = _score([0, outside, 1], [0, 0, 1])
    assert score.iou[:2].tolist() == [1 / 2, 1.0]
    assert score.confusion[0].tolist() == [1, 0, 0, 1]


def test_an_absent_class_is_left_out_of_the_mean_and_named() -> None:
    score = _score([0, 1, 0], [0, 0, 0])
    # Chair is predicted, though never true: it counts with 0. Door is absent.
    assert score.iou[:2].tolist() == [2 / 3, 0.0]
    assert math.isnan(score.iou[2])
    assert score.absent == ["door"]
    assert score.miou == pytest.approx(1 / 3)
    assert score.miou_absent_as_zero == pytest.approx(2 / 9)
    said = str(score).splitlines()
    assert said[3].split() == ["door", "absent", "0", "0", "0"]
    assert said[4] == "absent: door; left out of the mean, which would be 22.2 with 0 for each"
    assert said[5] == "mIoU: 33.3"


def test_a_prediction_on_unannotated_vertices_makes_no_class_present() -> None:
    assert _score([0, 2], [0, -1]).absent == ["chair", "door"]


def test_nothing_to_score() -> None:
    score = _score([], [])
    assert score.confusion.sum() == 0
    assert math.isnan(score.miou)
    assert str(score).endswith("mIoU: nan")


def test_table() -> None:
    lines = str(_score([0, 0, 1, 1, 2], [0, 0, 0, 1, 2])).splitlines()
    assert [line.split() for line in lines] == [
        ["class", "IoU", "vertices", "hits", "union"],
        ["wall", "66.7", "3", "2", "3"],
        ["chair", "50.0", "1", "1", "2"],
        ["door", "100.0", "1", "1", "1"],
        ["mIoU:", "72.2"],
    ]


def test_scenes_add_up() -> None:
    prediction, target = torch.randint(-2, 23, (2, 1009))
    whole = confusion_matrix(prediction, target, 20)
    parts = [
        confusion_matrix(p, t, 20)
        for p, t in zip(prediction.split(211), target.split(211), strict=True)
    ]
    assert torch.equal(sum(parts), whole)
    assert Score(whole, SCANNET20).miou == mean_iou(whole)


def test_the_vectors_are_left_as_they_were() -> None:
    prediction, target = torch.tensor([0, 5, -1]), torch.tensor([-1, 0, 1])
    confusion_matrix(prediction, target, 3)
    assert prediction.tolist() == [0, 5, -1]
    assert target.tolist() == [-1, 0, 1]


def test_inputs_that_cannot_be() -> None:
    ones = torch.ones(7, dtype=torch.long)
    with pytest.raises(ValueError, match="one prediction for each of 7 vertices, got 5"):
        confusion_matrix(ones[:5], ones, 3)
    with pytest.raises(ValueError, match=r"target must be a vector, got shape \(7, 1\)"):
        confusion_matrix(ones, ones[:, None], 3)
    with pytest.raises(TypeError, match=r"prediction must be integers, got torch\.float32"):
        confusion_matrix(ones.float(), ones, 3)
    with pytest.raises(ValueError, match=r"shape \(C, C \+ 1\), got \(3, 3\)"):
        class_iou(torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"shape \(20, 21\) for scannet20, got \(3, 4\)"):
        Score(torch.ones(3, 4), SCANNET20)


def test_means_of_groups_and_of_val() -> None:
    names = ("wall", "chair", "door", "sink", "mug", "pen")
    groups = ("head", "head", "common", "common", "tail", "tail")
    in_val = (True, True, True, True, True, False)
    labels = LabelSet("six", (1, 2, 3, 4, 5, 6), names, ((0, 0, 0),) * 6, groups, in_val)
    # wall 1/2, chair 0 (predicted, never true), door 1, sink absent, mug absent, pen 1/3
    target, prediction = [0, 0, 2, 5, 5, 5], [0, 1, 2, 5, -1, 9]
    score = Score(confusion_matrix(_vector(prediction), _vector(target), 6), labels)
    assert score.group_miou == pytest.approx({"head": 1 / 4, "common": 1.0, "tail": 1 / 3})
    assert score.miou_in_val == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert score.miou_absent_as_zero == pytest.approx((1 / 2 + 1 + 1 / 3) / 6)
    assert str(score).splitlines()[7:] == [
        "absent: sink, mug; left out of the mean, which would be 30.6 with 0 for each",
        "mIoU of the 2 head classes: 25.0",
        "mIoU of the 2 common classes: 100.0",
        "mIoU of the 2 tail classes: 33.3",
        "mIoU of the 5 classes in val: 50.0",
        "mIoU of all 6 classes, 0 for absent ones: 30.6",
        "mIoU: 45.8",
    ]


def test_means_of_scannet200() -> None:
    labels = SCANNET200
    assert {group: labels.groups.count(group) for group in dict.fromkeys(labels.groups)} == {
        "head": 66,
        "common": 68,
        "tail": 66,
    }
    assert sum(labels.in_val) == 189
    # All right where val has the class, and nothing else there: 189 ones.
    in_val = torch.tensor(labels.in_val)
    score = Score(torch.eye(200, 201).long() * in_val[:, None], labels)
    assert score.miou_in_val == score.miou == 1.0
    assert score.miou_absent_as_zero == pytest.approx(189 / 200)
    assert len(score.absent) == 11
    lines = str(score).splitlines()
    assert lines[-3:-1] == [
        "mIoU of the 189 classes in val: 100.0",
        "mIoU of all 200 classes, 0 for absent ones: 94.5",
    ]


def _official(scans: list[list[tuple[int, int]]], ids: tuple[int, ...]) -> list[float]:
    r"""The benchmark's words on pairs of a predicted and a true id, class by class.

    A vertex is looked at if its true id is a class. Then it is a true positive of its class, or a
    false negative of it; and in that case a false positive of the class that was predicted.
    """
    looked_at = [pair for scan in scans for pair in scan if pair[1] in ids]
    values = []
    for class_id in ids:
        tp = fp = fn = 0
        for predicted, true in looked_at:
            tp += predicted == true == class_id
            fn += true == class_id != predicted
            fp += predicted == class_id != true
        values.append(tp / (tp + fp + fn) if tp + fp + fn else math.nan)
    return values


def _scan(drawn: bytes, labels: LabelSet) -> list[tuple[int, int]]:
    r"""Pairs of ids from pairs of bytes, which Hypothesis draws faster than lists of choices."""
    # Few of the classes, so that they meet, beside ids of no class: 0, 50 and 149 among them.
    some = [*labels.ids[:4], *labels.ids[-2:], 0, -1, 13, 50, 149, 1 << 15]
    ids = [some[byte % len(some)] for byte in drawn]
    return list(zip(ids[::2], ids[1::2], strict=False))


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from([THREE, SCANNET20, SCANNET200]), st.lists(st.binary(max_size=15), max_size=3)
)
def test_equal_to_the_official_definition_to_the_last_digit(
    labels: LabelSet, drawn: list[bytes]
) -> None:
    scans = [_scan(one, labels) for one in drawn]
    classes = labels.num_classes
    confusion = torch.zeros(classes, classes + 1, dtype=torch.int64)
    for scan in scans:
        predicted, true = (labels.encode(_vector([pair[i] for pair in scan])) for i in (0, 1))
        confusion += confusion_matrix(predicted, true, classes)
    score = Score(confusion, labels)
    expected = _official(scans, labels.ids)
    np.testing.assert_array_equal(score.iou, expected)
    present = [value for value in expected if not math.isnan(value)]
    assert score.miou_absent_as_zero == pytest.approx(math.fsum(present) / classes, rel=1e-15)
    if present:
        assert score.miou == pytest.approx(math.fsum(present) / len(present), rel=1e-15)
    for group, mean in score.group_miou.items():
        mine = [v for v, g in zip(expected, labels.groups, strict=True) if g == group and v == v]
        assert math.isnan(mean) if not mine else mean == pytest.approx(math.fsum(mine) / len(mine))


def _vector(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)
