import numpy as np

from latentgraph.scannet.textures import colors_of_pictures

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def test_each_vertex_takes_the_pixel_under_it() -> None:
    picture = np.array([[RED, GREEN, WHITE], [BLUE, BLUE, BLUE]], dtype=np.uint8)
    plain = np.full((1, 1, 3), 7, dtype=np.uint8)
    faces = np.array([[0, 1, 2], [3, 4, 5]])
    # The last place is beyond the picture, which repeats.
    uv = np.array([[0.1, 0.2], [0.4, 0.2], [1.0 - 1e-9, 0.4], [0.5, 0.5], [0.5, 0.5], [9, 9]])
    color = colors_of_pictures(8, faces, uv, np.array([0, 1]), [picture, plain])
    assert color.tolist() == [list(c) for c in (RED, GREEN, WHITE)] + 3 * [[7] * 3] + 2 * [
        [128] * 3
    ]
    uv = np.array([[0.1, 0.9], [-0.1, 0.2], [1.1, -0.7]])
    color = colors_of_pictures(3, faces[:1], uv, np.array([0]), [picture])
    assert color.tolist() == [list(c) for c in (BLUE, WHITE, RED)]


def test_a_material_without_a_picture_is_gray() -> None:
    empty = np.zeros((0,), dtype=np.uint8)
    color = colors_of_pictures(3, np.array([[0, 1, 2]]), np.zeros((3, 2)), np.array([0]), [empty])
    assert color.tolist() == [[128] * 3] * 3


def test_a_picture_with_an_opacity() -> None:
    picture = np.full((2, 2, 4), 9, dtype=np.uint8)
    color = colors_of_pictures(3, np.array([[0, 1, 2]]), np.zeros((3, 2)), np.array([0]), [picture])
    assert color.tolist() == [[9] * 3] * 3
