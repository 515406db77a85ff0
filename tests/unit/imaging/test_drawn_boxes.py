"""Boxes drawn on a picture: where they are, in which colour, and the picture itself left as it was."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("PIL")

from medfed.imaging.annotation import Box, Finding
from medfed.imaging.detections import Detected
from medfed.imaging.drawn_boxes import draw_boxes

GREEN, ORANGE, GREY = (0, 158, 66), (230, 110, 0), (90, 90, 90)


def test_annotated_boxes_are_green_and_found_ones_orange_at_twice_the_size() -> None:
    values = np.full((60, 80, 3), 90, dtype=np.uint8)
    before = values.copy()
    drawn = draw_boxes(values, [Finding("a", Box(5, 10, 20, 30))], [Detected("b", Box(40, 10, 80, 60), 0.5)])
    assert drawn.shape == (120, 160, 3)
    np.testing.assert_array_equal(values, before)
    for row, column in ((20, 10), (20, 39), (59, 10), (59, 39)):  # the corners, whose right and bottom are outside
        assert tuple(drawn[row, column]) == GREEN
    for row, column in ((60, 80), (119, 159), (20, 159)):
        assert tuple(drawn[row, column]) == ORANGE
    for row, column in ((40, 25), (5, 5), (90, 120), (60, 41)):
        assert tuple(drawn[row, column]) == GREY


def test_class_and_score_are_written_in_the_corner_of_a_found_box() -> None:
    values = np.full((60, 80), 90, dtype=np.uint8)
    high, low = (draw_boxes(values, [], [Detected("cell", Box(0, 0, 80, 60), score)]) for score in (0.91, 0.12))
    assert (high[:24] != low[:24]).any()
    np.testing.assert_array_equal(high[30:], low[30:])
    assert (high[:24] == 255).all(axis=2).any()


def test_sixteen_bits_show_their_upper_eight_and_no_box_leaves_the_picture_alone() -> None:
    values = np.full((10, 10), 90 << 8 | 17, dtype=np.uint16)
    assert (draw_boxes(values, [], []) == 90).all()
