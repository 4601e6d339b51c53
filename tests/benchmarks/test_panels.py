"""The chart of curves side by side."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.panels import Curve, panels_svg

SPACE = "{http://www.w3.org/2000/svg}"

shares = st.sampled_from([0.02, 0.1, 0.2, 0.4, 1.0])
curves = st.builds(
    Curve,
    name=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=30),
    ours=st.dictionaries(shares, st.tuples(st.floats(5, 95), st.floats(0, 5)), min_size=1),
    paper=st.dictionaries(shares, st.floats(1, 99)),
)


@given(st.lists(curves, min_size=1, max_size=12), curves)
def test_every_point_is_drawn_inside_the_chart(found, reference):
    root = ElementTree.fromstring(panels_svg(found, reference, "a < b"))
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    drawn = 0
    for panel in root.iter(f"{SPACE}g"):
        shift = panel.attrib["transform"].removeprefix("translate(").rstrip(")").split()
        left, top = map(float, shift)
        for circle in panel.iter(f"{SPACE}circle"):
            drawn += 1
            assert 0 <= left + float(circle.attrib["cx"]) <= width
            assert 0 <= top + float(circle.attrib["cy"]) <= height
    assert drawn == sum(len(curve.ours) for curve in found)


def test_what_is_furthest_ahead_where_both_were_measured_is_first():
    random = Curve("random", {0.1: (20.0, 1.0), 0.2: (30.0, 1.0)})
    near = Curve("near", {0.1: (21.0, 1.0), 0.2: (31.0, 1.0), 1.0: (90.0, 1.0)})
    far = Curve("far", {0.2: (35.0, 1.0)})
    behind = Curve("behind", {0.1: (10.0, 1.0)})
    root = ElementTree.fromstring(panels_svg([behind, near, far], random, "title"))
    names = [text.text for text in root.iter(f"{SPACE}text") if "font-weight" in text.attrib]
    assert names == ["far", "near", "behind"]


def test_a_point_tells_ours_and_the_papers():
    curve = Curve("herding", {0.2: (34.62, 0.91)}, {0.2: 25.1})
    root = ElementTree.fromstring(panels_svg([curve], Curve("random", {0.2: (26.5, 0.1)}), "t"))
    told = [title.text for title in root.iter(f"{SPACE}title")]
    assert told == ["herding, 0.2 %: 34.6 ± 0.9, the paper's 25.1"]
