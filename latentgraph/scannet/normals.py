r"""Normals of a mesh from its faces, and of a point cloud from its neighborhoods."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from latentgraph.needs import need
from latentgraph.scannet.orient import look_inside


def vertex_normals(pos: NDArray[np.float32], faces: NDArray[np.int64]) -> NDArray[np.float32]:
    r"""Mean normal of the faces around each vertex, weighted by their areas.

    Args:
        pos: Positions, (V, 3).
        faces: Corners of the triangles, (F, 3), counter-clockwise seen from outside.

    Returns:
        (V, 3), of length 1, or 0 for a vertex without a face of any area.
    """
    corner = pos.astype(np.float64)[faces]
    # The length of this product is twice the area, which gives the weight for free.
    face_normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.stack(
        [
            sum(np.bincount(faces[:, i], face_normal[:, axis], len(pos)) for i in range(3))
            for axis in range(3)
        ],
        axis=1,
        dtype=np.float64,
    )
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit = np.divide(total, length, out=np.zeros_like(total), where=length > 0)
    normals: NDArray[np.float32] = unit.astype(np.float32)
    return normals


def estimate_normals(pos: NDArray[np.float32], neighbors: int = 30) -> NDArray[np.float32]:
    r"""Normals of the planes through each point's neighbors, by Open3D.

    Each looks to the side that a scanner can have stood on, see
    :func:`~latentgraph.scannet.orient.look_inside`.

    Args:
        pos: Positions, (V, 3).
        neighbors: How many neighbors a plane goes through.

    Returns:
        (V, 3), of length 1.

    Raises:
        ImportError: If Open3D is not installed.
    """
    o3d = need("open3d", "to estimate normals", "scannet")
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(pos.astype(np.float64)))
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(neighbors))
    apart = np.asarray(cloud.compute_nearest_neighbor_distance())
    normals: NDArray[np.float32] = np.asarray(cloud.normals, dtype=np.float32)
    if not (apart > 0).any():  # all points are one
        return normals
    return look_inside(pos, normals, 2.0 * float(np.median(apart[apart > 0])))
