import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from latentgraph.scannet.labels import SCANNET20, LabelSet
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
    assert said[3].split() == ["door", "absent", "0"]
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
        ["class", "IoU", "vertices"],
        ["wall", "66.7", "3"],
        ["chair", "50.0", "1"],
        ["door", "100.0", "1"],
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


def _official(prediction: list[int], target: list[int], classes: range) -> list[float]:
    r"""Sets of vertices, class by class, as the benchmark describes its score."""
    annotated = {i for i, true in enumerate(target) if true in classes}
    values = []
    for c in classes:
        true = {i for i in annotated if target[i] == c}
        predicted = {i for i in annotated if prediction[i] == c}
        union = len(true | predicted)
        values.append(len(true & predicted) / union if union else math.nan)
    return values


@settings(max_examples=1000, deadline=None)
@given(
    st.integers(1, 7).flatmap(
        lambda c: st.tuples(
            st.just(c),
            st.lists(st.tuples(st.integers(-2, c + 2), st.integers(-2, c + 2)), max_size=23),
        )
    )
)
def test_equal_to_the_definition_to_the_last_digit(case: tuple[int, list[tuple[int, int]]]) -> None:
    num_classes, pairs = case
    prediction, target = [p for p, _ in pairs], [t for _, t in pairs]
    iou = class_iou(confusion_matrix(_vector(prediction), _vector(target), num_classes))
    expected = _official(prediction, target, range(num_classes))
    torch.testing.assert_close(
        iou, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0, equal_nan=True
    )


def _vector(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)
