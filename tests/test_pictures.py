"""The pictures of README show what stands on a terminal."""

from __future__ import annotations

from xml.etree import ElementTree

from tests import pictures


def test_a_carriage_return_writes_over_a_line():
    said = "first\r\n 10%|#    |\r 20%|\x1b[1m##\x1b[0m   |\r\nlast\r\n"

    assert pictures.screen(said) == ["first", " 20%|##   |", "last"]


def test_a_picture_holds_every_line_as_it_is():
    lines = ["$ batchmill run a.toml", "", 'rows  <1 & "2">']

    drawn = ElementTree.fromstring(pictures.svg(lines))

    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == [line for line in lines if line]
