"""What a table shows, character by character."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from compress.report.figures import megabytes, percent, points, ratio
from compress.report.row import row_from_plain
from compress.report.table import RANDOM_TITLE, bench_table, render, show
from compress.runtime.measure import Bench
from compress.runtime.measurement import Prefill
from compress.runtime.statistics import Ratio
from compress.tasks.base import Figure
from tests.rows import FLOAT, INT4, INT8, RANDOM, row

MARKDOWN = """\
| name | size, MB | size / float | top-1 | top-1 difference, points | agreement | latency / float | p50, ms | peak RSS, MB | mJ/image |
| :-- | --: | --: | --: | --: | --: | --: | --: | --: | --: |
| float | 20.00 | 1.00 × | 89.6 % [86.5, 92.1] | – | – | 1 | 9.88 | 102 | no counter |
| w4 (misses its budget) | 2.87 | 0.14 × | 89.2 % [86.1, 91.7] | −0.4 [−1.3, +0.4] | 98.3 % [96.7, 99.1] | 0.44 × [0.42, 0.46] | 9.88 | 102 | no counter |
| w8a8 | 5.00 | 0.25 × | 89.2 % [86.1, 91.7] | −0.4 [−1.3, +0.4] | 98.3 % [96.7, 99.1] | 0.44 × [0.42, 0.46] | 9.88 | 102 | no counter |

- w4 misses its budget: agreement is 91.0 %, at least 92.0 % is asked for
- float: `compress run recipes/float.yaml`
- w4: `compress run recipes/w4.yaml`
- w8a8: `compress run recipes/w8a8.yaml`
- measured on A CPU (2 cores, avx512_vnni), 2 threads, onnxruntime 1.31.1
"""  # noqa: E501


def test_markdown_to_the_character() -> None:
    assert render([INT8, FLOAT, INT4]) == MARKDOWN


def test_random_weights_stand_apart_without_scores_that_mean_nothing() -> None:
    text = render([RANDOM, INT8])
    real, random = text.split(f"### {RANDOM_TITLE}\n")
    assert "resnet18" not in real
    assert "| resnet18 | 5.00 | 0.25 × | 98.3 % [96.7, 99.1] | 0.44 × [0.42, 0.46] |" in random
    assert "top-1" not in random
    assert render([RANDOM]).startswith(f"### {RANDOM_TITLE}\n")


def test_each_models_float_row_comes_first_then_the_smallest() -> None:
    other = row("z-float", model="Another", is_float=True, model_bytes=30_000_000)
    rows = [INT8, INT4, other, FLOAT, row("a-tie", model_bytes=INT8.model_bytes)]
    names = [entry["name"] for entry in json.loads(render(rows, "json"))]
    assert names == ["z-float", "float", "w4", "a-tie", "w8a8"]


def test_machines_are_told_apart() -> None:
    other = replace(INT8, name="elsewhere", machine=replace(INT8.machine, cpu="Another CPU"))
    assert render([INT8, other]).count("- measured on ") == 2


def test_json_comes_back_as_rows() -> None:
    entries = json.loads(render([FLOAT, INT8, RANDOM], "json"))
    assert [entry.pop("size_ratio") for entry in entries] == [1.0, 0.25, 0.25]
    assert [row_from_plain(entry) for entry in entries] == [FLOAT, INT8, RANDOM]


def test_csv_has_a_column_for_each_figure_unrounded() -> None:
    lines = list(csv.DictReader(io.StringIO(render([FLOAT, INT8, INT4], "csv"))))
    float_line, int4, int8 = lines
    assert list(int8)[:3] == ["name", "model", "command"]
    assert int8["top1"] == "0.8921"
    assert (int8["top1_low"], int8["top1_high"], int8["top1_num_samples"]) == ("0.8611", "0.9168", "472")
    assert int8["kl_nats"] == "0.0123"
    assert int8["latency_ratio_quartile_low"] == "0.42"
    assert int8["machine_features"] == "avx512_vnni"
    assert float_line["latency_ratio"] == float_line["agreement"] == ""
    assert int4["misses"] == "agreement is 91.0 %, at least 92.0 % is asked for"


def test_a_bar_in_a_name_does_not_break_the_table() -> None:
    text = render([row("a|b", command="compress run x.yaml | tee log")])
    assert "| a\\|b |" in text
    assert "x.yaml \\| tee log" in text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(0.892, 0.861, 0.917, 472), "89.2 % [86.1, 91.7]"),
        (Figure(1.0), "100.0 %"),
        (Figure(0.0, 0.0, 0.008, 472), "0.0 % [0.0, 0.8]"),
    ],
)
def test_shares_are_percentages_with_their_interval(figure: Figure, text: str) -> None:
    assert percent(figure) == text


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Figure(-0.0042, -0.0127, 0.0043, 472), "−0.4 [−1.3, +0.4]"),
        (Figure(0.0, -0.01, 0.01, 472), "0.0 [−1.0, +1.0]"),
        (Figure(-0.0004), "0.0"),
        (Figure(0.02), "+2.0"),
    ],
)
def test_differences_are_signed_points(figure: Figure, text: str) -> None:
    assert points(figure) == text


def test_sizes_are_in_decimal_megabytes() -> None:
    assert [megabytes(size) for size in (18_600_000, 5_000_000, 4_999, 1_048_576)] == ["18.60", "5.00", "0.00", "1.05"]
    assert ratio(Ratio(0.444, 0.42, 0.461, 0.4, 0.5, 60)) == "0.44 × [0.42, 0.46]"


def test_energy_is_shown_where_it_was_measured() -> None:
    assert "| 12.5 |" in render([replace(INT8, energy_joules=0.0125, energy_note="")])


def test_where_there_is_no_terminal_markdown_is_printed_without_colours() -> None:
    stream = io.StringIO()
    show([INT8, FLOAT, INT4], Console(file=stream, width=40))
    assert stream.getvalue() == MARKDOWN


def test_a_terminal_gets_a_drawn_table_with_every_cell() -> None:
    stream = io.StringIO()
    show([INT8, FLOAT, INT4, RANDOM], Console(file=stream, width=200, force_terminal=True))
    text = stream.getvalue()
    for part in ("w8a8", "89.2 % [86.1, 91.7]", "−0.4 [−1.3, +0.4]", "98.3 %", RANDOM_TITLE, "compress run recipes/w4"):
        assert part in text
    assert "┃" in text


def test_a_name_that_looks_like_markup_is_shown_as_it_is() -> None:
    stream = io.StringIO()
    show([row("[red]w8[/red]")], Console(file=stream, width=200, force_terminal=True))
    assert "[red]w8[/red]" in stream.getvalue()


def test_no_rows_are_an_empty_table() -> None:
    assert render([]).startswith("| name | size, MB |")
    assert render([], "json") == "[]\n"


def test_a_bench_keeps_its_order_and_its_first_is_the_reference() -> None:
    times = {"latency_ms_p95": 12.0, "items_per_second": 100.0, "energy_joules": None, "energy_note": "none"}
    first = Bench(path="b", latency_ms_p50=10.0, latency_ratio=None, **times)
    second = Bench(path="a", latency_ms_p50=5.0, latency_ratio=Ratio(0.5, 0.45, 0.55, 0.4, 0.6, 60), **times)
    assert bench_table([first, second]) == (
        "| model | p50, ms | p95, ms | latency / first | images/s | mJ/image |\n"
        "| :-- | --: | --: | --: | --: | --: |\n"
        "| b | 10.00 | 12.00 | 1 | 100.0 | no counter |\n"
        "| a | 5.00 | 12.00 | 0.50 × [0.45, 0.55] | 100.0 | no counter |\n"
    )
    assert bench_table([first], "csv").splitlines()[1] == "b,10.00,12.00,1,100.0,no counter"
    assert [entry["path"] for entry in json.loads(bench_table([first, second], "json"))] == ["b", "a"]


def test_translators_stand_in_a_table_of_their_own() -> None:
    speed = {
        "prefill": Prefill(tokens_per_second=812.4, ratio=Ratio(0.5, 0.48, 0.52, 0.49, 0.51, 20), first_token_ms=90)
    }
    scores = {
        "nll_per_token": Figure(2.01, 1.9, 2.1, 400),
        "nll_per_token_lost": Figure(0.12, -0.01, 0.2, 400),
        "chrf": Figure(24.5, 22.0, 27.0, 50),
        "bleu": Figure(9, 8, 10, 50),
    }
    translator = row("gemma-w4", task="translation", model="Gemma", scores=scores, items_per_second=141.0, **speed)
    images, text = render([INT8, translator]).split("\n\n")[::2]
    assert "decoded tokens/s" not in images
    header, _, line = text.splitlines()[:3]
    cells = dict(zip(header.split(" | "), line.split(" | "), strict=True))
    assert cells["decoded tokens/s"] == "141.0"
    assert cells["prefill tokens/s"] == "812"
    assert cells["prefill time / float"] == "0.50 × [0.48, 0.52]"
    assert cells["nats/token"] == "2.010 [1.900, 2.100]"
    assert cells["nats/token lost"] == "+0.120 [−0.010, +0.200]"
    assert cells["chrF++"] == "24.5 [22, 27]"
    assert "bleu" not in cells
