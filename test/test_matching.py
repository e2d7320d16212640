"""Compiled matching against readable twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sab3r_ros.mapping.compiled import both_ways, matched
from sab3r_ros.mapping.matching import match_views
from sab3r_ros.types import View


def units(rng, *shape):
    X = rng.normal(size=shape).astype(np.float32)
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 70), st.integers(1, 70), st.integers(1, 30))
def test_both_ways_is_the_largest_product_of_each(seed, n, m, d):
    rng = np.random.default_rng(seed)
    A, B = units(rng, n, d), units(rng, m, d)
    products = A @ B.T
    of_a, of_b = both_ways(A, B)
    assert np.allclose(products[np.arange(n), of_a], products.max(1), atol=1e-6)
    assert np.allclose(products[of_b, np.arange(m)], products.max(0), atol=1e-6)


def test_of_equals_the_first_is_taken():
    ones = np.ones((37, 24))
    assert not both_ways(ones, ones[:21])[0].any() and not both_ways(ones, ones[:21])[1].any()


def matched_twin(first, second, stride, most, radius, apart):
    sides = []
    for descriptors, confidence in (first, second):
        h, w, _ = descriptors.shape
        blocks = [
            max(
                ((y + v, x + u) for v in range(stride) for u in range(stride)),
                key=lambda p, c=confidence: c[p],
            )
            for y in range(0, h - stride + 1, stride)
            for x in range(0, w - stride + 1, stride)
        ]
        kept = sorted(sorted(range(len(blocks)), key=lambda k, b=blocks, c=confidence: -c[b[k]])[:most])
        sides.append((descriptors, [blocks[k] for k in kept], kept, w // stride))
    (A, a, number, wide), (B, b, _, _) = sides

    def around(query, D, place):
        h, w, _ = D.shape
        reach = range(1 - stride, stride)
        near = [(place[0] + v, place[1] + u) for v in reach for u in reach]
        return max((p for p in near if 0 <= p[0] < h and 0 <= p[1] < w), key=lambda p: query @ D[p])

    def far(p, q):
        return max(abs(p[0] - q[0]), abs(p[1] - q[1]))

    def lead(likeness, places, classes):
        best = int(np.argmax(likeness))
        likest = [max(np.flatnonzero(classes == c), key=lambda j: likeness[j]) for c in np.unique(classes)]
        return min(
            (likeness[best] - likeness[j] for j in likest if far(places[j], places[best]) > apart), default=9
        )

    products = np.array([[A[p] @ B[q] for q in b] for p in a])
    pairs, likeness, leads = [], [], []
    for k, p in enumerate(a):
        j = products[k].argmax()
        back = products[:, j].argmax()
        if far(divmod(number[back], wide), divmod(number[k], wide)) > 1:
            continue
        there = around(A[p], B, b[j])
        if far(around(B[there], A, a[back]), p) <= radius:
            pairs.append((p[0] * A.shape[1] + p[1], there[0] * B.shape[1] + there[1]))
            likeness.append(A[p] @ B[there])
            # The compiled code knows the likest of every 16th of B, and of every 16th four of A.
            ahead, behind = np.arange(len(b)) % 16, np.arange(len(a)) // 4 % 16
            leads.append(min(lead(products[k], b, ahead), lead(products[:, j], a, behind)))
    return pairs, likeness, leads


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**31), st.integers(1, 3), st.sampled_from([9, 500]), st.integers(0, 1))
def test_matches_are_those_of_a_plain_twin(seed, stride, most, radius):
    rng = np.random.default_rng(seed)
    A = units(rng, 11, 16, 8)
    B = 0.4 * units(rng, 14, 13, 8)
    B[2:13, :10] += A[:, 3:13]  # what the two see in common
    first, second = (A, rng.random((11, 16), np.float32)), (B, rng.random((14, 13), np.float32))
    here, there, *told = matched(first, second, stride, most, radius, 2)
    pairs, likeness, leads = matched_twin(first, second, stride, most, radius, 2)
    assert np.stack([here, there], 1).tolist() == [list(p) for p in pairs]
    assert np.allclose(told[0], likeness, atol=1e-6)
    assert np.allclose(np.minimum(told[1], 9), leads, atol=1e-6)


def test_a_shifted_view_matches_by_its_shift():
    rng = np.random.default_rng(0)
    world = np.repeat(np.repeat(rng.normal(size=(30, 40, 24)), 3, 0), 3, 1).astype(np.float32)
    world = sum(np.roll(world, (v, u), (0, 1)) for v in range(3) for u in range(3))  # smooth
    world /= np.linalg.norm(world, axis=-1, keepdims=True)

    def view(rows, columns):
        return View(np.zeros((96, 128, 3)), np.ones((96, 128)), world[rows, columns], np.ones((48, 64)), None)

    blank = np.zeros((96, 128, 3), np.uint8)
    found = match_views(view(slice(10, 58), slice(10, 74)), view(slice(14, 62), slice(3, 67)), (blank, blank))
    assert len(found) > 200
    assert np.median(found.second - found.first, axis=0) == pytest.approx([14, -8], abs=0.2)
