"""The chart of accuracy over bytes."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scatter import Point, frontier, scatter_svg

points = st.lists(
    st.builds(
        Point,
        size=st.integers(1, 10**9),
        accuracy=st.floats(1, 99),
        spread=st.floats(0, 5),
        series=st.sampled_from(["none", "soft & feature"]),
        name=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=9),
    ),
    min_size=1,
    max_size=20,
)


@given(points)
def test_the_frontier_is_what_nothing_beats(found):
    best = frontier(found)
    for point in found:
        assert any(b.size <= point.size and b.accuracy >= point.accuracy for b in best)
    assert [b.accuracy for b in best] == sorted({b.accuracy for b in best})


@given(points)
def test_every_point_is_drawn_inside_the_chart(found):
    root = ElementTree.fromstring(scatter_svg(found, "a < b"))
    space = "{http://www.w3.org/2000/svg}"
    drawn = [c for c in root.iter(f"{space}circle") if c.find(f"{space}title") is not None]
    assert len(drawn) == len(found)
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    for circle in drawn:
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
