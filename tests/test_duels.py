"""SESN before every other method, one by one: on synthetic runs with known answers, and by the paper's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from recorded import recorded
from scipy import stats
from statsmodels.stats.multitest import multipletests
from toy_cells import make_record

from sesn_lib.analysis import duels, published, results, summary
from sesn_lib.analysis.published import ALL_ROWS, COLUMNS, REGIME, RIVAL_REGIME, RIVAL_ROWS
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import Difference
from sesn_lib.analysis.text import p_value
from sesn_lib.experiments.mnist_scale import EXPERIMENT, RIVAL_MODELS, Cell
from sesn_lib.store.records import Store

FOLDER = Path(__file__).resolve().parent.parent / "notebooks" / "results"
PUBLISHED = published.load(FOLDER)
NEVER: Mapping[str, tuple[int, ...]] = {"table": (), "rivals": ()}


def synthetic(
    leads: Mapping[str, float], *, realizations: int = 6, seed: int = 0, columns: tuple[str, ...] = COLUMNS
) -> Results:
    """SESN Vector at 1.8 %, each other method behind it by its lead, on realizations that are as hard for all."""
    draws = np.random.default_rng(seed)
    common = draws.normal(0, 0.1, 6)
    records: dict[Cell, dict] = {}
    rivals: dict[Cell, dict] = {}
    for place, ((row, column), (model, scaling)) in enumerate({**REGIME, **RIVAL_REGIME}.items()):
        if row == "SESN Scalar" or (row != "SESN Vector" and row not in leads) or column not in columns:
            continue
        for r in range(6 if row == "SESN Vector" else realizations):
            error = 1.8 + leads.get(row, 0.0) + common[r] + draws.normal(0, 0.05)
            stamp = {"finished": f"2026-01-01T00:{r:02d}:{place:02d}Z", "train_seconds": 1.0}
            (rivals if row in RIVAL_ROWS else records)[Cell(model, scaling, r)] = make_record(
                Cell(model, scaling, r), error=float(error), timing=stamp
            )
    return Results(records, rivals)


def by_name(found: list[duels.Duel]) -> dict[tuple[str, str], duels.Duel]:
    return {(duel.column, duel.other): duel for duel in found}


def test_the_paper_s_table_is_whole() -> None:
    assert {row for row, _ in PUBLISHED.paper} == set(ALL_ROWS)
    assert len(PUBLISHED.paper) == 10 * 4
    assert set(RIVAL_REGIME.values()) == {(model, s) for model in RIVAL_MODELS for s in (1.0, 0.5)}
    assert RIVAL_REGIME["SEVF Vector", "56+"] == ("mnist_sevf_vector_56", 0.5)
    assert RIVAL_REGIME["SI-ConvNet", "28"] == ("mnist_kanazawa_28", 1.0)
    for column in COLUMNS:
        best = min((cell.mean, row) for (row, where), cell in PUBLISHED.paper.items() if where == column)
        assert best[1] == duels.CHAMPION


@pytest.mark.slow
def test_the_paper_s_own_figures() -> None:
    """Its lead over its best other method is settled by its own numbers in three columns of four."""
    found = by_name(duels.duels(Results({}), PUBLISHED, NEVER))
    for column in COLUMNS:
        family = [found[column, other] for other in duels.OTHERS]
        ours = PUBLISHED.paper["SESN Vector", column]
        p = []
        for duel in family:
            theirs = PUBLISHED.paper[duel.other, column]
            p.append(stats.ttest_ind_from_stats(ours.mean, ours.std, 6, theirs.mean, theirs.std, 6, equal_var=False)[1])
        assert [duel.paper.p for duel in family] == pytest.approx(p, rel=1e-9)
        assert [duel.p_paper for duel in family] == pytest.approx(list(multipletests(p, method="holm")[1]), rel=1e-9)
    open_ones = {key for key, duel in found.items() if not duel.settled}
    assert open_ones == {("28+", "SiCNN")}
    said = duels.paper_sentence(list(found.values()))
    assert "SESN Vector is ahead of every other method in every column" in said
    assert "not settled at 28+ (−0.10 [−0.22, +0.02] over SiCNN, p = 0.086)" in said
    assert {duel.verdict for duel in found.values()} == {"no run yet"}


def test_every_method_must_be_beaten() -> None:
    whole = synthetic(dict.fromkeys(duels.OTHERS, 0.4))
    found = duels.duels(whole, PUBLISHED, NEVER)
    assert {duel.verdict for duel in found} == {"reproduced"}
    table = duels.columns_table(found)
    assert list(table["this repetition"]) == ["reproduced"] * 4
    assert list(table["in detail"]) == ["SESN beats all"] * 4
    assert "168 of 168 runs" in duels.our_sentence(whole, found)

    one_alike = synthetic({**dict.fromkeys(duels.OTHERS, 0.4), "DSS Vector": 0.0})
    found = duels.duels(one_alike, PUBLISHED, NEVER)
    assert set(duels.columns_table(found)["this repetition"]) == {"undecided"}
    assert "open: DSS Vector" in duels.columns_table(found).loc["28", "in detail"]

    one_better = synthetic({**dict.fromkeys(duels.OTHERS, 0.4), "SiCNN": -0.4})
    found = duels.duels(one_better, PUBLISHED, NEVER)
    assert set(duels.columns_table(found)["this repetition"]) == {"not reproduced"}
    assert "SESN loses to SiCNN" in duels.columns_table(found).loc["56+", "in detail"]


def test_each_p_by_hand() -> None:
    whole = synthetic({other: 0.02 * place for place, other in enumerate(duels.OTHERS)})
    found = by_name(duels.duels(whole, PUBLISHED, {"table": (), "rivals": (10,)}))
    family = [found["28+", other] for other in duels.OTHERS]
    p = []
    for duel in family:
        errors = [whole.condition(row, "28+") for row in ("SESN Vector", duel.other)]
        p.append(stats.ttest_rel([errors[0][r] for r in range(6)], [errors[1][r] for r in range(6)]).pvalue)
    assert [duel.ours.p for duel in family] == pytest.approx(p, rel=1e-9)
    charged = [min(1.0, value * duel.looks * (duel.looks + 1)) for value, duel in zip(p, family)]
    assert [duel.p for duel in family] == pytest.approx(list(multipletests(charged, method="holm")[1]), rel=1e-9)
    assert {duel.looks for duel in family} == {1}, "at ten runs no method had three"
    shown = duels.duels_table(family)
    for name, of in (("p, paired t", lambda d: d.ours.p), ("p, corrected", lambda d: d.p),
                     ("p, Welch", lambda d: d.paper.p), ("p of that, Holm", lambda d: d.p_paper)):  # fmt: skip
        assert list(shown[name]) == [p_value(of(duel)) for duel in family]
    later = by_name(duels.duels(whole, PUBLISHED, {"table": (), "rivals": (10, 100, 140)}))
    assert {later["28+", other].looks for other in RIVAL_ROWS} == {3}
    assert later["28+", "CNN"].looks == 1, "nobody looked at the table's own runs before"
    table = by_name(duels.duels(whole, PUBLISHED, {"table": (40,), "rivals": ()}))
    assert (table["28+", "CNN"].looks, table["28+", "SS-CNN"].looks) == (2, 1)


@pytest.mark.parametrize("realizations", [0, 1, 2, 3])
def test_few_runs_decide_nothing_and_missing_ones_are_said(realizations: int) -> None:
    few = synthetic({"CNN": 0.4, "SS-CNN": 1.5}, realizations=realizations, columns=("28",))
    found = duels.duels(few, PUBLISHED, NEVER)
    table = duels.columns_table(found)
    word = {0: "no run yet", 1: "undecided", 2: "undecided", 3: "reproduced"}[realizations]
    assert by_name(found)["28", "SS-CNN"].verdict == word
    few_said = "2 of 8 with too few runs, " if realizations in (1, 2) else ""
    said = f"undecided ({few_said}6 of 8 not run)" if realizations else "no run yet"
    assert table.loc["28", "this repetition"] == said, "the others lack"
    assert table.loc["56", "this repetition"] == "no run yet"
    said = duels.our_sentence(few, found)
    assert ("none of the 168 runs is there" in said) == (realizations == 0)
    assert f"SS-CNN ({realizations} of 24)" in duels.missing(few)
    assert "nan" not in " ".join(map(str, duels.duels_table(found).to_numpy().flat))


@pytest.mark.slow
def test_the_size_of_a_column_is_held() -> None:
    """Eight methods that are all as good as SESN: how often any of them is called beaten or better."""
    wrong = []
    for seed in range(150):
        alike = synthetic(dict.fromkeys(duels.OTHERS, 0.0), seed=seed, columns=("28",))
        wrong.append(any(d.p < 0.05 for d in duels.duels(alike, PUBLISHED, NEVER) if d.column == "28"))
    assert np.mean(wrong) < 0.06


def test_records_of_other_methods_stand_in_the_table_and_nowhere_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(make_record(Cell("mnist_dss_vector_56", 0.5, 2), error=1.57))
    store.write(make_record(Cell("mnist_cnn_56", 0.5, 2), error=1.7))
    store.write(make_record(Cell("mnist_ss_28", 1.0, 0), epochs=3))
    found = results.load(tmp_path)
    assert (len(found.records), len(found.rivals), len(found.partial)) == (1, 1, 1)
    assert found.condition("DSS Vector", "56+") == {2: 1.57}
    assert found.condition("DSS Vector", "56") == {}
    table = summary.paper_table(found, PUBLISHED)
    assert table.loc[("DSS Vector", "this repetition"), "56+"] == "1.57 (1)"
    assert table.loc[("DSS Vector", "this repetition"), "56"] == "no run yet"
    assert table.loc[("DSS Vector", "the paper"), "56"].startswith("1.97 ± 0.08")
    assert len(table) == 10 * 2 + 2
    assert set(found.by_regime()) == {("mnist_cnn_56", 0.5)}, "the model of the four claims does not see them"
    assert summary.provenance_table(found)["runs"].sum() == 2
    assert list(summary.cost_table(found)["model"]) == ["mnist_cnn_56", "mnist_dss_vector_56"]


def test_other_parts_of_the_grid_never_enter() -> None:
    whole = {*EXPERIMENT.cells("sesn"), *EXPERIMENT.cells("rivals")}
    others = [cell for cell in EXPERIMENT.cells("all") if cell not in whole]
    found = Results({})
    assert not {cell.model for cell in others} & {model for model, _ in {**REGIME, **RIVAL_REGIME}.values()}
    assert found.everything == {}
    assert recorded().rivals == {}


def test_a_lead_of_the_other_one_is_no_settled_lead() -> None:
    none = Difference(float("nan"))
    ahead, behind = (duels.Duel("SESN Vector", "CNN", "28", Difference(gap), none, 1, p_paper=0.01) for gap in (-1, 1))
    assert ahead.settled
    assert not behind.settled
