"""The picture of the losses."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from flyball.train import curve


def test_a_sparkline_falls_with_the_losses() -> None:
    assert curve.sparkline([8.0, 7, 6, 5, 4, 3, 2, 1], 8) == "█▇▆▅▄▃▂▁"
    assert curve.sparkline([4.0, 4, 2, 2, 0, 0], 3) == "█▅▁"
    assert curve.sparkline([1.0, 1.0], 40) == "▁▁"


def test_the_picture_is_svg_within_its_frame() -> None:
    for losses in ([0.0], [3.0, 1.0], [2.5 - 0.01 * i for i in range(200)]):
        root = ET.fromstring(curve.svg(losses, "Loss"))
        lines = [element.get("points", "") for element in root.iter() if element.tag.endswith("polyline")]
        assert len(lines) == 2
        points = [tuple(map(float, point.split(","))) for line in lines for point in line.split()]
        assert all(0 <= x <= 640 and 0 <= y <= 260 for x, y in points)
