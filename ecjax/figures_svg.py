"""A figure as inline SVG for the page: real text, the page's colours, nothing from elsewhere."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecjax import figures_base as base
from ecjax.errors import neutral

SVG = "http://www.w3.org/2000/svg"
LINK = "{http://www.w3.org/1999/xlink}href"
VARIABLES = {
    base.TEXT: "var(--text)",
    base.SOFT: "var(--soft)",
    base.LINE: "var(--line)",
    base.BACK: "var(--back)",
    base.GAIN: "var(--gain)",
    base.LOSS: "var(--loss)",
}
# What matplotlib's own style element says for all elements; in a page it would reach all of it.
LINES = "stroke-linejoin: round; stroke-linecap: butt"
FONT = re.compile(r"font: (?:(bold|[1-9]00) )?([\d.]+)px [^;]*")  # of matplotlib before 3.10
FAMILY = re.compile(r"font-family: [^;]*;? ?")
NUMBER = re.compile(r"-?\d+\.\d{2,}")
REFERENCE = re.compile(r"#([\w-]+)")
GROUP = f"{{{SVG}}}g"
LEVEL = re.compile(r"rotate\(-?0[ )]")
LONG = 2000  # letters of a path, from which on one decimal is fine enough
SHORT = ("x", "y", "width", "height", "transform", "points", "viewBox")


def inline_svg(figure: Axes | Figure, title: str, description: str, key: str) -> str:
    """The figure as one `<svg>` element, the same bytes for the same figure.

    Args:
        figure: the figure, or axes in it.
        title, description: for who does not see it; escaped here.
        key: begins every id, so that they are unique on the page; letters, digits, "-" and "_".

    Returns:
        An element without width and height, whose colours are the page's variables.
    """
    figure = figure.figure.figure  # of axes in a part of a figure, the whole of it
    drawn = io.BytesIO()
    options = {"svg.fonttype": "none", "svg.hashsalt": key, "svg.image_inline": True}
    unsaid = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(options), base.quietly():
        figure.savefig(drawn, format="svg", metadata=unsaid, transparent=True)
    root = ElementTree.fromstring(drawn.getvalue())
    _strip(root)
    for element in root.iter():
        _rewrite(element, key)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    _forget(root)
    root.attrib |= {"role": "img", "aria-labelledby": f"{key}-t {key}-d", "style": LINES}
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(f"{{{SVG}}}{tag}", {"id": f"{key}-{tag[0]}"})
        child.text = neutral(text)
        root.insert(place, child)
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _strip(root: ElementTree.Element) -> None:
    """Without metadata and matplotlib's style element."""
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2]
            if tag in ("metadata", "style") or (tag == "defs" and _only_style(child)):
                parent.remove(child)


def _forget(root: ElementTree.Element) -> None:
    """Without ids that nothing refers to, and the groups that had nothing else."""
    texts = [value for element in root.iter() for value in element.attrib.values()]
    known = {name for text in texts for name in REFERENCE.findall(text)}
    for element in root.iter():
        if element.get("id") not in known:
            element.attrib.pop("id", None)
    _flatten(root)


def _flatten(parent: ElementTree.Element) -> None:
    children = list(parent)
    for child in children:
        _flatten(child)
    if any(child.tag == GROUP and not child.attrib for child in children):
        parent[:] = [
            each
            for child in children
            for each in (child if child.tag == GROUP and not child.attrib else [child])
        ]
    for child in parent:  # the white space between them
        child.tail = None
    if len(parent):
        parent.text = None


def _only_style(element: ElementTree.Element) -> bool:
    return all(child.tag == f"{{{SVG}}}style" for child in element)


def _rewrite(element: ElementTree.Element, key: str) -> None:
    """Ids of its own, colours of the page, fonts that it inherits, short numbers."""
    given = element.attrib
    for attribute, value in list(given.items()):
        if attribute == "id":
            value = f"{key}-{value}"
        elif attribute == LINK:
            del given[attribute]
            attribute, value = "href", f"#{key}-{value[1:]}"
        elif attribute == "style":
            value = FAMILY.sub("", FONT.sub(_font, value))
            value = NUMBER.sub(lambda found: f"{float(found[0]):.3g}", value)
        elif attribute == "d":
            value = _path(value)
        elif attribute == "transform" and LEVEL.match(value):
            del given[attribute]
            continue
        elif attribute in SHORT:
            value = NUMBER.sub(lambda found: _short(found[0]), value)
        value = value.replace("url(#", f"url(#{key}-")
        for colour, variable in VARIABLES.items():
            value = value.replace(colour, variable)
        given[attribute] = value
    for colour in ("fill", "stroke"):  # a variable is one in a style only
        if given.get(colour, "").startswith("var("):
            given["style"] = f"{colour}: {given.pop(colour)}; {given.get('style', '')}".rstrip("; ")


def _path(value: str) -> str:
    """A path in fewer letters: lines follow a line without being named."""
    decimals = 1 if len(value) > LONG else 2
    value = NUMBER.sub(lambda found: _short(found[0], decimals), value)
    value = " ".join(value.split())
    return value if set(value) & set("CQ") else value.replace(" L ", " ")


def _short(number: str, decimals: int = 2) -> str:
    text = f"{float(number):.{decimals}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _font(found: re.Match) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"
