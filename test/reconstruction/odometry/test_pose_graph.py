"""The pose graph: derivatives by differences, exact measurements found again, a loop that takes away drift in scale too."""

import dataclasses

import numpy as np
import pytest

from moonseg3r_core.reconstruction.odometry import pose_graph
from moonseg3r_core.reconstruction.odometry.pose_graph import PoseGraph, make_similarities, optimize


def make_graph(count=12, seed=0, noise=0.0, loops=((11, 0),)):
    """Views on a circle; edges from each to the next and of the loops, measured with noise."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    turns = np.column_stack((0 * angles, angles, 0 * angles))
    places = 2 * np.column_stack((np.cos(angles), 0 * angles, np.sin(angles)))
    views = make_similarities(np.column_stack((turns, places, 0 * angles)))
    pairs = np.array([*((i, i + 1) for i in range(count - 1)), *loops])
    true = np.linalg.inv(views[pairs[:, 0]]) @ views[pairs[:, 1]]
    measured = true @ make_similarities(noise * rng.standard_normal((len(pairs), 7)))
    sigmas = np.tile([0.01, 0.01, 0.01, 0.02, 0.02, 0.02, 0.02], (len(pairs), 1))
    return PoseGraph(views, np.arange(count) > 0, pairs[:, 0], pairs[:, 1], measured, sigmas)


def move(graph, size, seed=1):
    updates = size * np.random.default_rng(seed).standard_normal((len(graph.views), 7)) * graph.free[:, None]
    return dataclasses.replace(graph, views=graph.views @ make_similarities(updates))


@pytest.mark.parametrize("size", [1e-6, 0.3])
def test_the_derivatives_are_those_of_differences(size):
    graph = move(make_graph(5, loops=((4, 1),)), size)
    exact = np.stack(pose_graph._compute_jacobians(graph))
    step = 1e-6
    for end, rows in enumerate((graph.first, graph.second)):
        for axis in range(7):
            for sign, row in ((1, row) for row in set(rows.tolist())):
                update = np.zeros((len(graph.views), 7))
                update[row, axis] = sign * step
                there = dataclasses.replace(graph, views=graph.views @ make_similarities(update))
                back = dataclasses.replace(graph, views=graph.views @ make_similarities(-update))
                slope = (there.compute_residuals() - back.compute_residuals()) / (2 * step)
                np.testing.assert_allclose(exact[end][rows == row, :, axis], slope[rows == row], atol=1e-4 / 0.01)


def test_exact_measurements_are_found_again():
    truth = make_graph()
    found = optimize(move(truth, 0.1))
    np.testing.assert_allclose(found.views, truth.views, atol=1e-6)
    assert np.array_equal(found.views[0], truth.views[0]), "a view that is not free stays"


def test_a_loop_takes_away_drift_in_place_turn_and_scale():
    """Each step is measured 1 % too large and 1 degree off; the loop is exact."""
    truth = make_graph(60, loops=())
    off = np.tile([0, 0.0175, 0, 0, 0, 0, 0.01], (len(truth.first), 1))
    measured = truth.measured @ make_similarities(off)
    views = [truth.views[0]]
    for step in measured:
        views.append(views[-1] @ step)
    drifted = dataclasses.replace(truth, views=np.stack(views), measured=measured)
    ends = {"first": np.array([0]), "second": np.array([59])}
    loop = {"measured": (np.linalg.inv(truth.views[0]) @ truth.views[59])[None], "sigmas": truth.sigmas[:1]}
    closed = {name: np.concatenate((getattr(drifted, name), values)) for name, values in (ends | loop).items()}
    found = optimize(dataclasses.replace(drifted, **closed))

    def worst(graph):
        return np.linalg.norm(graph.views[:, :3, 3] - truth.views[:, :3, 3], axis=1).max()

    assert worst(drifted) > 1.5
    assert worst(found) < 0.25 * worst(drifted)
    assert np.linalg.norm(found.views[-1, :3, 3] - truth.views[-1, :3, 3]) < 0.05
    np.testing.assert_allclose(np.linalg.det(found.views[-1, :3, :3]), 1, atol=0.1)


def test_a_graph_without_edges_or_free_views_stays():
    graph = move(make_graph(3, loops=()), 0.1)
    alone = dataclasses.replace(graph, free=np.zeros(3, bool))
    assert optimize(alone) is alone
    none = {name: getattr(graph, name)[:0] for name in ("first", "second", "measured", "sigmas")}
    empty = dataclasses.replace(graph, **none)
    assert optimize(empty) is empty
