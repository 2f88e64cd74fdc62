"""3x3 homographies in float32, without the short products of tensor cores.

A homography is known up to a factor. Letters: N moments, M points.
"""

import jax
import jax.numpy as jnp


def product(first: jax.Array, second: jax.Array) -> jax.Array:
    """Multiplies matrices: `first` is applied after `second`.

    Args:
        first: [..., 3, 3].
        second: [..., 3, 3], as many axes.

    Returns:
        [..., 3, 3].
    """
    # A sum, not a matmul, which accelerators round to 10 bits.
    return (first[..., :, :, None] * second[..., None, :, :]).sum(axis=-2)


def inverse(matrix: jax.Array) -> jax.Array:
    """The way back, up to a factor: the adjugate.

    Args:
        matrix: [..., 3, 3].

    Returns:
        [..., 3, 3].
    """
    rows = matrix[..., 0, :], matrix[..., 1, :], matrix[..., 2, :]
    columns = [jnp.cross(rows[(i + 1) % 3], rows[(i + 2) % 3]) for i in range(3)]
    return jnp.stack(columns, axis=-1)


def apply(matrix: jax.Array, points: jax.Array) -> jax.Array:
    """Takes points through homographies.

    Args:
        matrix: [N, 3, 3].
        points: [M, 2] (x, y).

    Returns:
        [N, M, 2].
    """
    points = jnp.concatenate([points, jnp.ones((len(points), 1))], axis=1)
    moved = (matrix[:, None] * points[None, :, None]).sum(axis=-1)
    return moved[..., :2] / moved[..., 2:]


def scaling(x: jax.Array, y: jax.Array, shift: jax.Array) -> jax.Array:
    """Stretches along the axes, then moves.

    Args:
        x: factor of the columns.
        y: factor of the rows.
        shift: [2] (x, y) added.

    Returns:
        [3, 3].
    """
    matrix = jnp.zeros((3, 3)).at[0, 0].set(x).at[1, 1].set(y)
    return matrix.at[:2, 2].set(shift).at[2, 2].set(1.0)


def centring(width: int, height: int) -> jax.Array:
    """From frame pixels to centred ones.

    Args:
        width: in pixels.
        height: in pixels.

    Returns:
        [3, 3].
    """
    return scaling(1.0, 1.0, -(jnp.array([width, height]) - 1) / 2)
