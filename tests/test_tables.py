"""Tables: numbers as text, and the same table in four forms."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from sesn_lib.analysis import text
from sesn_lib.analysis.statistics import Difference, Sample
from sesn_lib.plotting import style, tables


def frame() -> pd.DataFrame:
    rows = {"error, %": ["2.10 ± 0.10 (6)", "–"], "verdict": ["the same (n = 6)", "no run yet"]}
    return pd.DataFrame(rows, index=pd.Index(["SESN_A & B", "<CNN>"], name="model"))


def test_numbers_as_text() -> None:
    assert tables.number(1.005) == "1.00"
    assert tables.number(math.nan) == "–"
    assert tables.signed(-0.123) == "−0.12"
    assert tables.signed(0.5) == "+0.50"
    assert tables.signed(-0.001) == "0.00"
    assert tables.mean(Sample(6, 2.1, 0.1)) == "2.10 ± 0.10 (6)"
    assert tables.mean(Sample(1, 2.1, math.nan)) == "2.10 (1)"
    assert tables.mean(None) == "–"
    assert tables.interval(Difference(-0.02, -0.14, 0.1)) == "−0.02 [−0.14, +0.10]"
    assert tables.interval(Difference(0.3)) == "+0.30"
    assert tables.interval(Difference(math.nan)) == "–"
    assert [tables.p_value(p) for p in (0.0001, 0.0123, 0.5, math.nan)] == ["< 0.001", "0.012", "0.50", "–"]
    assert [tables.p_value(p) for p in (0.0994, 0.0996, 0.001)] == ["0.099", "0.10", "0.001"]


def test_a_bound_is_kept_by_what_is_below_it() -> None:
    assert text.below(2e-7, 1e-6) == "2e-07 < 1e-06 ✓"
    assert [text.below(value, 1e-6)[-1] for value in (1e-6, 2e-6)] == ["✗", "✗"]
    assert text.below(1e-16, 1e-6) == "< 1e-06 ✓", "rounding is no number"
    assert [text.above(value, 0.1) for value in (0.234, 0.1)] == ["0.23 > 0.1 ✓", "0.1 > 0.1 ✗"]
    assert text.listed(["a", "b", "c"]) == "a, b and c"
    assert text.listed(["a (1)", "b", "c"]) == "a (1), b, c"


def test_html_is_a_table_with_a_caption_and_escapes() -> None:
    html = tables.to_html(frame(), "Errors & spreads", "errors")
    assert html.count("<tr>") == 3  # the name of the row heads is in the corner
    assert html.index(">model<") < html.index("error, %")
    assert "<caption>" in html
    assert "&lt;CNN&gt;" in html
    assert tables.TINTS["the same"] in html
    assert html == tables.to_html(frame(), "Errors & spreads", "errors")
    unnamed = tables.to_html(frame().reset_index(drop=True), "c", "n")
    assert 'class="row_heading' not in unnamed


def test_verdicts_of_different_meaning_have_different_grounds() -> None:
    """Good, bad, open and nothing yet: a ground each, and no verdict that is said is without one."""
    groups = (
        {"reproduced", "supported", "the same", "as predicted"},
        {"not reproduced", "not supported", "differs", "not as predicted"},
        {"undecided"},
        {"no data", "no run yet"},
    )
    grounds = [{tables.TINTS[word] for word in group} for group in groups]
    assert [len(ground) for ground in grounds] == [1, 1, 1, 1]
    assert len(set.union(*grounds)) == 4
    assert set.union(*groups) == set(tables.TINTS)


def test_nothing_in_a_table_is_taken_for_html() -> None:
    bad = "<b>&</b>"
    named = pd.DataFrame({bad: [bad, 1.5]}, index=pd.Index([bad, "x"], name="model"))
    two = pd.DataFrame({bad: [bad]}, index=pd.MultiIndex.from_tuples([(bad, bad)], names=["a", "b"]))
    for table, times in ((named, 3), (two, 4), (named.reset_index(drop=True), 2)):
        html = tables.to_html(table, "c", "n")
        assert html.count("&lt;b&gt;&amp;&lt;/b&gt;") == times
        assert "<b>" not in html


def test_whose_numbers_they_are_is_seen() -> None:
    """Nested heads share cells; a source has the colour that it has in the figures, and ours are bold."""
    heads = [("CNN", "the paper"), ("CNN", "this repetition"), ("SESN", "another")]
    index = pd.MultiIndex.from_tuples(heads, names=["network", "error, %"])
    html = tables.to_html(pd.DataFrame({"28": ["1", "2", "3"]}, index=index), "c", "n")
    assert 'rowspan="2">CNN<' in html
    assert html.count("<tr>") == 4
    assert f"#T_n_level1_row0 {{\n  border-left: 5px solid {style.PAPER}" in html
    assert f"#T_n_level1_row1 {{\n  border-left: 5px solid {style.OURS}" in html
    assert "#T_n_level1_row2 {" not in html
    assert "#T_n_row1_col0 {\n  font-weight: bold" in html
    assert "#T_n_row0_col0 {" not in html
    across = tables.to_html(pd.DataFrame({"ours": ["1"], "the report": ["2"]}), "c", "n")
    assert f"border-bottom: 5px solid {style.REPORT}" in across


def test_markdown() -> None:
    lines = tables.markdown(frame()).splitlines()
    assert lines[0] == "| model | error, % | verdict |"
    assert lines[3] == "| <CNN> | – | no run yet |"


def test_a_bar_in_a_cell_begins_no_new_one() -> None:
    lines = tables.markdown(pd.DataFrame({"a": ["x|y"], "b": [1]})).splitlines()
    assert lines == ["| a | b |", "| --- | --- |", r"| x\|y | 1 |"]


def test_latex_is_escaped() -> None:
    text = tables.latex(frame(), "50 % of all", "errors")
    assert r"SESN\_A \& B & 2.10 $\pm$ 0.10 (6) &" in text
    assert r"\caption{50 \% of all}" in text
    assert text.isascii()


def test_publish_writes_three_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables.publish("errors", frame(), "Errors", tmp_path / "new", data=pd.DataFrame({"mean": [2.1]}))
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"errors.md", "errors.tex", "errors.csv"}
    assert (tmp_path / "new" / "errors.csv").read_text() == "mean\n2.1\n"
    tables.publish("heads", frame(), "Errors", tmp_path / "heads")
    read = pd.read_csv(tmp_path / "heads" / "heads.csv")
    assert list(read.columns) == [*frame().index.names, *frame().columns], "rows keep their heads"
    tables.publish("shown", frame(), "Errors")  # no folder: shown only
    with pytest.raises(ValueError, match="cannot name a file"):
        tables.publish("../errors", frame(), "Errors", tmp_path)
