import pytest
from cases import check_all, check_some
from ranks import on_ranks
from sharded_layers import LAYERS


def test_sharded_equals_single() -> None:
    assert on_ranks(check_some, 3) == [len(LAYERS)] * 3


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_sharded_equals_single_in_every_case(num_ranks) -> None:
    counted = on_ranks(check_all, num_ranks)
    assert counted == [counted[0]] * num_ranks
    assert counted[0] > 200
