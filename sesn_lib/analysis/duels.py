"""SESN before every other way to treat scale: one column of the paper's table at a time, one other method at a time.

The claim of a column is that SESN beats *each* of the eight other methods. Each is a test of its own, and Holm's
correction is over the eight, from the first run on, so that one can also say before whom. The paper's figures are
judged alike, by Welch's test on means, spreads and n = 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from sesn_lib.analysis.effects import charged
from sesn_lib.analysis.evidence import OurRuns
from sesn_lib.analysis.published import ALL_ROWS, COLUMNS, RIVAL_REGIME, RIVAL_ROWS, SESN_ROWS, Published
from sesn_lib.analysis.results import RIVALS, Results
from sesn_lib.analysis.statistics import LEAST, NAN, NOMINAL, Difference, difference, holm, paired
from sesn_lib.analysis.text import DASH, interval, listed, p_is, p_value

OTHERS = tuple(row for row in ALL_ROWS if row not in SESN_ROWS)
CHAMPION = "SESN Vector"
"""The paper's best network, in each of its columns; so it was chosen before any run of ours."""


@dataclass(frozen=True)
class Duel:
    """SESN minus one other method in one column, by the paper's figures and by our runs; negative as claimed.

    Attributes:
        paper: Welch's test of the printed means; its p is not corrected.
        ours: Student's paired t over the realizations that both have; its p is not corrected.
        looks: in how many different states the question was looked at when it had an answer, the present one included.
        p_paper: after Holm over the column's methods.
        p: of ours, charged for the looks, then likewise.
    """

    row: str
    other: str
    column: str
    paper: Difference
    ours: Difference
    looks: int
    p_paper: float = NAN
    p: float = NAN

    @property
    def verdict(self) -> str:
        """Of our runs: reproduced, not reproduced (the other one is better), undecided, or no run yet."""
        if not math.isfinite(self.ours.estimate):
            return "no run yet"
        if self.ours.n[0] >= LEAST and self.p < NOMINAL:
            return "reproduced" if self.ours.estimate < 0 else "not reproduced"
        return "undecided"

    @property
    def settled(self) -> bool:
        """Whether the paper's own figures show the lead."""
        return self.p_paper < NOMINAL and self.paper.estimate < 0


def duels(
    results: Results,
    published: Published,
    looked: Mapping[str, Sequence[int]],
    row: str = CHAMPION,
    others: Sequence[str] = OTHERS,
) -> list[Duel]:
    """Every duel of a row of SESN, column by column; each column is a family of tests.

    `looked`: as `results.looks` has it, from "table" for the plain CNN, from "rivals" for the others.
    """
    found = []
    for column in COLUMNS:
        family = [_duel(results, published, looked, (row, other, column)) for other in others]
        p_paper = holm([duel.paper.p for duel in family], family=len(family))
        ours = [charged(duel.ours.p, duel.looks) if duel.ours.n[0] >= LEAST else NAN for duel in family]
        p = holm(ours, family=len(family))
        found += [replace(duel, p_paper=a, p=b) for duel, a, b in zip(family, p_paper, p)]
    return found


def _duel(
    results: Results, published: Published, looked: Mapping[str, Sequence[int]], names: tuple[str, str, str]
) -> Duel:
    row, other, column = names
    ours, theirs = results.condition(row, column), results.condition(other, column)
    pairs = [ours[r] - theirs[r] for r in sorted(ours.keys() & theirs.keys())]
    paper = difference(published.paper.get((row, column)), published.paper.get((other, column)))
    if other in RIVAL_ROWS:
        looks = _looks(results, looked["rivals"], RIVAL_REGIME[other, column])
    else:
        looks = OurRuns(results, looked["table"]).looks([{(row, column): 1.0, (other, column): -1.0}])
    return Duel(row, other, column, paper, paired(pairs), looks)


def _looks(results: Results, looked: Iterable[int], regime: tuple[str, float]) -> int:
    """In how many states this rival had enough runs for a verdict. SESN's runs were all there before its first.

    A look at fewer than `LEAST` can call nothing, so it is no chance of a false alarm.
    """
    ended = sorted(results.rivals, key=lambda cell: (results.rivals[cell]["timing"]["finished"], cell))
    states = set()
    for count in (*(n for n in looked if n < len(ended)), len(ended)):
        there = frozenset(c.realization for c in ended[:count] if (c.model, c.extra_scaling) == regime)
        if len(there) >= LEAST:
            states.add(there)
    return max(len(states), 1)


# Tables


def duels_table(found: Sequence[Duel]) -> pd.DataFrame:
    """A line per column and method: ours first, the paper beside it; all p named by test and correction."""
    rows = {}
    for duel in found:
        rows[duel.column, duel.other] = [
            duel.verdict, interval(duel.ours), str(duel.ours.n[0]), p_value(duel.ours.p), str(duel.looks),
            p_value(duel.p), interval(duel.paper), p_value(duel.paper.p), p_value(duel.p_paper),
        ]  # fmt: skip
    columns = ["this repetition", "ours", "n", "p, paired t", "looks", "p, corrected"]
    columns += ["the paper", "p, Welch", "p of that, Holm"]
    index = pd.MultiIndex.from_tuples(rows, names=["column", f"{found[0].row} before"])
    return pd.DataFrame(list(rows.values()), index=index, columns=columns)


def columns_table(found: Sequence[Duel]) -> pd.DataFrame:
    """A line per column: whether SESN beats all others, by our runs and by the paper's figures."""
    rows = {}
    for column, family in _by_column(found):
        best = _best(family)
        lead = f"{'settled' if best.settled else 'not settled'}: {interval(best.paper)} over {best.other}"
        rows[column] = [_column_verdict(family), _detail(family), lead, p_value(best.paper.p), p_value(best.p_paper)]
    columns = ["this repetition", "in detail", "the paper's lead over its best other method"]
    columns += ["p, Welch, n = 6", f"p, Holm over {len(OTHERS)}"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("column")


def _by_column(found: Sequence[Duel]) -> list[tuple[str, list[Duel]]]:
    return [(column, [duel for duel in found if duel.column == column]) for column in COLUMNS]


def _best(family: Sequence[Duel]) -> Duel:
    """Against the method that the paper has nearest."""
    return max(family, key=lambda duel: duel.paper.estimate)


def _column_verdict(family: Sequence[Duel]) -> str:
    """Of "SESN beats every other method": only all of them reproduce it, one that is better refutes it."""
    words = [duel.verdict for duel in family]
    if "not reproduced" in words or set(words) == {"reproduced"}:
        return "not reproduced" if "not reproduced" in words else "reproduced"
    lacking = words.count("no run yet")
    if lacking == len(family):
        return "no run yet"
    few = sum(duel.verdict == "undecided" and duel.ours.n[0] < LEAST for duel in family)
    why = [
        f"{count} of {len(family)} {said}"
        for count, said in ((few, "with too few runs"), (lacking, "not run"))
        if count
    ]
    return f"undecided ({', '.join(why)})" if why else "undecided"


_SAID = {"reproduced": "SESN beats", "not reproduced": "SESN loses to", "undecided": "open", "no run yet": "no run yet"}


def _detail(family: Sequence[Duel]) -> str:
    parts = []
    for word, said in _SAID.items():
        names = [duel.other for duel in family if duel.verdict == word]
        if names:
            every = len(names) == len(family)
            parts.append(f"{said}{':' if said in ('open', 'no run yet') else ''} {'all' if every else listed(names)}")
    return "; ".join(parts)


# Sentences


def paper_sentence(found: Sequence[Duel]) -> str:
    """Whether the paper's lead over its best other method is settled by its own numbers."""
    parts: dict[bool, list[str]] = {True: [], False: []}
    for column, family in _by_column(found):
        best = _best(family)
        said = f"{column} ({interval(best.paper)} over {best.other}, {p_is(best.p_paper)})"
        parts[best.settled].append(said)
    ahead = all(duel.paper.estimate < 0 for duel in found)
    lead = "is ahead of every other method in every column" if ahead else "is not ahead everywhere"
    judged = [
        f"{word} at {', '.join(places)}" for word, places in zip(("settled", "not settled"), parts.values()) if places
    ]
    return (
        f"By the paper’s own figures {found[0].row} {lead}; its lead over the best of them is {'; '.join(judged)} "
        f"(Welch’s t, n = 6 a side, Holm over {len(OTHERS)} in each column)."
    )


def our_sentence(results: Results, found: Sequence[Duel]) -> str:
    """What our runs say of the same claim, column by column, as far as there are runs."""
    done = len(results.rivals)
    if not done:
        return (
            f"Of the paper’s seven other ways to treat scale none of the {len(RIVALS)} runs is there: that SESN beats "
            "them is not judged here."
        )
    lines = [f"{done} of {len(RIVALS)} runs of the paper’s seven other ways to treat scale are there."]
    for column, family in _by_column(found):
        lines.append(f"At {column}: *{_column_verdict(family)}* ({_detail(family)}).")
    test = f"paired t by realization, charged for looks, then Holm over {len(OTHERS)} methods of a column"
    return " ".join(lines) + f" ({test[0].upper()}{test[1:]}; *reproduced* needs all of them.)"


def short_sentence(results: Results, found: Sequence[Duel]) -> str:
    """Both in brief, for a page that has no room: the paper's lead, and our verdict on each column."""
    families = _by_column(found)
    settled = [column for column, family in families if _best(family).settled]
    unsettled = [column for column, family in families if column not in settled]
    words: dict[str, list[str]] = {}
    for column, family in families:
        words.setdefault(_column_verdict(family), []).append(column)
    ours = "; ".join(f"at {listed(columns)} {word}" for word, columns in words.items())
    done = f"{len(results.rivals)} of {len(RIVALS)} runs of the seven"
    test = f"paired t, n = {LEAST} realizations or more, charged for looks, Holm over {len(OTHERS)} a column"
    judged = (
        f"{ours[0].upper()}{ours[1:]} (from {done}; {test})"
        if results.rivals
        else f"Not judged, for none of the {done.split(' of ', 1)[1]} is there"
    )
    lead = f"settled at {listed(settled) or 'no column'}{f', not at {listed(unsettled)}' if unsettled else ''}"
    return (
        f"does {CHAMPION} beat all {len(OTHERS)}, the CNN and seven others? {judged}. By the paper’s own numbers its "
        f"lead over the best of them is {lead} (Welch, n = 6 a side, Holm likewise)."
    )


def missing(results: Results) -> str:
    """`DASH` where no run of the other methods lacks, else which methods have fewer runs than cells."""
    counts = {row: sum(len(results.condition(row, column)) for column in COLUMNS) for row in RIVAL_ROWS}
    lacking = [f"{row} ({count} of {6 * len(COLUMNS)})" for row, count in counts.items() if count < 6 * len(COLUMNS)]
    return listed(lacking) if lacking else DASH
