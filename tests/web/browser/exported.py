"""What a chart on the page says of itself, and what its SVG, PNG and CSV hold."""

import base64
import csv
import io
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.image import imread

SPACE = "{http://www.w3.org/2000/svg}"
DENSITY = 2  # pixels of the PNG for one of the screen; a context with this scale has canvases of the same pixels
PLACE = re.compile(r"[ML](-?[\d.e+-]+) (-?[\d.e+-]+)")
SHEET = "<!doctype html><style>* { margin: 0 } svg { display: block }</style>"


@dataclass
class Saved:
    """A chart in three formats, with its attributes on the page."""

    name: str
    data: dict[str, str]
    svg: ET.Element
    text: str  # of the SVG
    png: np.ndarray  # height × width × 3 from 0 to 255
    columns: list[str]
    rows: list[list[str]]

    def number(self, key: str) -> float:
        return float(self.data[key])

    @property
    def size(self) -> tuple[float, float]:
        return float(self.svg.get("width")), float(self.svg.get("height"))

    @property
    def words(self) -> list[str]:
        return [one.text or "" for one in self.svg.iter(f"{SPACE}text")]

    def paths(self, filled: bool = False) -> list[ET.Element]:
        return [one for one in self.svg.iter(f"{SPACE}path") if (one.get("fill") != "none") == filled]

    def lines(self) -> dict[str, np.ndarray]:
        """The vertices of all lines that have a label, by label: n × 2 pixels."""
        found: dict[str, list[np.ndarray]] = {}
        for path in self.paths():
            title = path.find(f"{SPACE}title")
            if title is not None:
                found.setdefault(title.text or "", []).append(vertices(path))
        return {label: np.concatenate(parts) for label, parts in found.items()}

    def shapes(self, kind: str) -> list[ET.Element]:
        return list(self.svg.iter(f"{SPACE}{kind}"))


def vertices(path: ET.Element) -> np.ndarray:
    return np.array([[float(x), float(y)] for x, y in PLACE.findall(path.get("d"))]).reshape(-1, 2)


def value(cell: str) -> float:
    """A cell of a table as a number; nan where it is empty."""
    return float(cell) if cell else math.nan


def pixels(image: bytes) -> np.ndarray:
    return np.round(255 * imread(io.BytesIO(image), format="png")[..., :3])


def saved(page, figure) -> Saved:
    """Save a chart in every format by its menu."""
    name, menu, files = figure.get_attribute("data-chart"), figure.locator("details.export"), {}
    for kind in ("svg", "png", "csv"):
        menu.locator("summary").click()
        with page.expect_download() as begun:
            menu.locator(f"button[data-format={kind}]").click()
        assert begun.value.suggested_filename.endswith(f".{kind}")
        files[kind] = Path(begun.value.path()).read_bytes()
    data = figure.evaluate("one => ({...one.dataset})")
    head, *rows = csv.reader(files["csv"].decode().splitlines())
    text = files["svg"].decode()
    return Saved(name, data, ET.fromstring(text), text, pixels(files["png"]), head, rows)


def on_screen(figure) -> np.ndarray:
    """The pixels of a chart's canvas."""
    url = figure.locator("canvas").first.evaluate("canvas => canvas.toDataURL('image/png')")
    return pixels(base64.b64decode(url.partition(",")[2]))


def rendered(sheet, text: str) -> np.ndarray:
    """The pixels of an SVG as the browser shows it."""
    sheet.set_content(SHEET + text)
    return pixels(sheet.locator("svg").screenshot())


def colours(image: np.ndarray) -> int:
    return len(np.unique(image.reshape(-1, 3), axis=0))


def scale(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Where all values stand, by a straight line through the places of two that are far apart."""
    inside = np.flatnonzero(np.abs(places) < 5000)
    low, high = inside[np.argmin(values[inside])], inside[np.argmax(values[inside])]
    if values[low] == values[high]:
        return np.full_like(values, places[low])
    slope = (places[high] - places[low]) / (values[high] - values[low])
    return places[low] + slope * (values - values[low])
