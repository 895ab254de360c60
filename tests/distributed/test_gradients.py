from mesh import check_gradients
from ranks import on_ranks


def test_gradients_of_nodes_and_of_batches_over_the_dimensions_of_a_mesh() -> None:
    on_ranks(check_gradients, 4)
