"""How methods look and numbers are written, and the sample images."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from bench.cells.files import data_folder
from bench.protocol.protocol import read_protocol
from bench.report.layout import COLOURS, DARK_COLOURS, Entry, listed, method_styles, number, percent
from bench.report.material.sample_images import sample_strip
from bench.report.page import table_cells
from imssl.datasets.prepared import read_prepared


def test_sample_images_are_the_training_images_and_their_views(prepared_project):
    protocol = read_protocol()
    dataset = next(iter(protocol.datasets))
    strip = sample_strip(dataset, protocol)
    prepared = read_prepared(data_folder(dataset))
    training = {prepared.images[row].tobytes() for row in prepared.indices("train")}
    for original, *views in strip.images:
        pixels, *others = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1]))))
            for picture in (original, *views)
        )
        assert pixels.reshape(prepared.images.shape[1:]).tobytes() in training
        assert [other.shape for other in others] == [pixels.shape] * 2
        assert not np.array_equal(others[0], others[1])
    assert sample_strip(dataset, protocol) == strip


@pytest.mark.parametrize(("colours", "paper"), [(COLOURS, "#ffffff"), (DARK_COLOURS, "#14181d")])
def test_colours_of_methods_stand_out_from_the_paper(colours, paper):
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return np.dot(linear, [0.2126, 0.7152, 0.0722])

    for colour in colours:
        dark, light = sorted((luminance(colour), luminance(paper)))
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


def test_no_two_methods_look_alike():
    styles = method_styles(tuple(f"m{i}" for i in range(56))).values()
    assert len({(style.colour, style.shape) for style in styles}) == 56


def test_numbers_are_written_as_a_reader_expects():
    assert [number(x) for x in (0.12345, -0.5, -0.0001, None, float("nan"))] == [
        "0.123",
        "−0.500",
        "0.000",
        "–",
        "–",
    ]
    assert number(1234567.0, 0) == "1,234,567"
    assert [percent(x) for x in (0.01, 0.007, 1.0, 0.125)] == ["1%", "0.7%", "100%", "12.5%"]
    assert [listed(words) for words in ([], ["a"], ["a", "b", "c"])] == ["", "a", "a, b and c"]


def test_cells_of_a_table_are_escaped_and_say_what_they_are():
    plain = Entry("0.500")
    full = Entry("<b>", ("[a & b]", "2"), mark="worse", title='"why"')
    hole = Entry("missing", hole=True, numeric=False)
    assert table_cells([plain, full, hole]) == (
        '<td class="n">0.500</td>'
        '<td class="n worse" title="&#34;why&#34;"><b>worse</b> &lt;b&gt;<small>[a &amp; b]</small>'
        "<small>2</small></td>"
        '<td class="t hole">missing</td>'
    )
