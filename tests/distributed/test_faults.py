import pytest
import torch
from faults import check_errors_and_go_on, killed_between_passes, stuck_between_passes
from ranks import on_ranks, outcomes_on_ranks

from latentgraph.distributed import sharded_nodes
from latentgraph.functional.shards import is_sharded, using
from latentgraph.nn import LatentGNN


def test_killed_rank_ends_the_others_with_an_error() -> None:
    timeout = 20.0
    outcomes = outcomes_on_ranks(killed_between_passes, 3, 1, timeout=timeout)
    assert outcomes[1].error is None  # it had no time to tell
    for survivor in (outcomes[0], outcomes[2]):
        assert survivor.error is not None
        assert "RuntimeError" in survivor.error
        assert survivor.seconds < timeout


@pytest.mark.slow
def test_rank_that_does_not_go_on_ends_the_others_after_the_timeout() -> None:
    timeout = 3.0
    outcomes = outcomes_on_ranks(stuck_between_passes, 2, 0, timeout + 12, timeout=timeout)
    error = outcomes[1].error
    assert error is not None
    assert "RuntimeError" in error
    assert timeout - 0.5 < outcomes[1].seconds < timeout + 10


def test_errors_name_what_was_expected_and_ranks_go_on() -> None:
    on_ranks(check_errors_and_go_on, 4)


def test_no_process_group() -> None:
    with (
        pytest.raises(RuntimeError, match="expected a process group for sharded_nodes"),
        sharded_nodes(),
    ):
        pass


@pytest.mark.slow
def test_compiled_blocks_are_an_error() -> None:
    compiled = torch.compile(LatentGNN(7, (5,), 2), backend="eager")
    with using(object()), pytest.raises(RuntimeError, match=r"without torch\.compile"):  # type: ignore[arg-type]
        compiled(torch.randn(23, 7))


def test_nodes_are_whole_again_after_an_error() -> None:
    with pytest.raises(KeyError), using(None):  # type: ignore[arg-type]
        raise KeyError
    assert not is_sharded()
    assert torch.is_grad_enabled()
