"""The paper's claims as questions, and how a body of evidence answers them: in sign, in size, how surely."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sesn_lib.analysis.effects import charged, minus, ratio
from sesn_lib.analysis.evidence import OurRuns, Samples, TableCell, Weights
from sesn_lib.analysis.published import COLUMNS, ROWS, SESN_ROWS
from sesn_lib.analysis.statistics import LEAST, NAN, NOMINAL, Difference, holm

PAPER, REPORT, US = "the paper's figures", "the report's runs", "this repetition"
"""The three bodies of evidence, as tables and figures call them."""


@dataclass(frozen=True)
class Question:
    """One effect, as the mean of one or more weighted sums of cells; as claimed it is negative.

    Attributes:
        claim: the sentence of the paper that it belongs to.
        where: the regime (training condition) that it is asked in, or what else distinguishes it.
        rows: the weighted sums, each of which is a comparison or a comparison of comparisons.
    """

    claim: str
    where: str
    rows: tuple[Weights, ...]


CNN = "SESN beats the plain CNN"
VECTOR = "vector features beat scalar ones"
AUGMENTATION = "scale augmentation helps"
SIZE = "56 pixels beat 28"


def _pair(better: TableCell, worse: TableCell) -> Weights:
    return {better: 1.0, worse: -1.0}


def _cnn(column: str) -> tuple[Weights, ...]:
    return tuple(_pair((row, column), ("CNN", column)) for row in SESN_ROWS)


def _vector(column: str) -> tuple[Weights, ...]:
    return (_pair(("SESN Vector", column), ("SESN Scalar", column)),)


def _augmentation(pixels: str) -> tuple[Weights, ...]:
    return tuple(_pair((row, f"{pixels}+"), (row, pixels)) for row in ROWS)


def _pixels(sign: str) -> tuple[Weights, ...]:
    return tuple(_pair((row, f"56{sign}"), (row, f"28{sign}")) for row in ROWS)


REGIMES: tuple[Question, ...] = (
    *(Question(CNN, column, _cnn(column)) for column in COLUMNS),
    *(Question(VECTOR, column, _vector(column)) for column in COLUMNS),
    *(Question(AUGMENTATION, pixels, _augmentation(pixels)) for pixels in ("28", "56")),
    Question(SIZE, "without +", _pixels("")),
    Question(SIZE, "with +", _pixels("+")),
)
"""Each claim in each regime: the family that verdicts are given on."""

CLAIMS: tuple[Question, ...] = tuple(
    Question(claim, "all", tuple(row for q in REGIMES if q.claim == claim for row in q.rows))
    for claim in (CNN, VECTOR, AUGMENTATION, SIZE)
)
"""Each claim as the mean of its regimes."""


def _name(row: Weights) -> str:
    better, worse = (next(cell for cell, weight in row.items() if weight * sign > 0) for sign in (1, -1))
    return f"{' '.join(better)} before {' '.join(worse)}"


COMPARISONS: tuple[Question, ...] = tuple(Question(q.claim, _name(row), (row,)) for q in CLAIMS for row in q.rows)
"""Each comparison of two cells."""


def _less(more: Sequence[Weights], less: Sequence[Weights]) -> tuple[Weights, ...]:
    return tuple({**a, **{cell: -weight for cell, weight in b.items()}} for a, b in zip(more, less, strict=True))


def _both(question: Mapping[str, tuple[Weights, ...]], plus: Sequence[str], base: Sequence[str]) -> tuple[Weights, ...]:
    return tuple(row for a, b in zip(plus, base) for row in _less(question[a], question[b]))


_LEAD = {column: _cnn(column) for column in COLUMNS}
_STEP = {column: _vector(column) for column in COLUMNS}
INTERACTIONS: tuple[Question, ...] = (
    Question(CNN, "with + less without, 28", _both(_LEAD, ["28+"], ["28"])),
    Question(CNN, "with + less without, 56", _both(_LEAD, ["56+"], ["56"])),
    Question(CNN, "56 less 28", _both(_LEAD, ["56", "56+"], ["28", "28+"])),
    Question(VECTOR, "with + less without, 28", _both(_STEP, ["28+"], ["28"])),
    Question(VECTOR, "with + less without, 56", _both(_STEP, ["56+"], ["56"])),
    Question(VECTOR, "56 less 28", _both(_STEP, ["56", "56+"], ["28", "28+"])),
    Question(AUGMENTATION, "56 less 28", _less(_augmentation("56"), _augmentation("28"))),
)
"""How the effects differ between regimes. None was foretold: they are asked because the regimes differ (post hoc)."""


@dataclass(frozen=True)
class Answer:
    """A question before one body of evidence.

    Attributes:
        used: which of the question's rows the mean is over: those with data (enough).
        found: the effect; its p is not corrected.
        by_model: the same as the mixed model alone tests it, for which realizations are equally hard for all networks.
        paper: the paper's own figure for the same rows, with its uncertainty.
        gap: found minus paper.
        share: found / paper, with Fieller's interval.
        looks: how often this question was looked at with new runs; 0: nothing is added to this evidence.
        p: the larger of those of `found` and `by_model`, charged for the looks (`effects.charged`), then for the family
            (Holm). So neither six values that lie close together by luck nor the model's assumption make a verdict.
        p_gap: of `gap`, charged likewise.
        runs: the fewest runs (realizations) behind a row used.
    """

    question: Question
    used: tuple[bool, ...]
    found: Difference
    by_model: Difference
    paper: Difference
    gap: Difference
    share: Difference
    looks: int
    runs: int
    p: float = NAN
    p_gap: float = NAN

    @property
    def verdict(self) -> str:
        """In sign: see `verdict`."""
        return verdict(self)

    @property
    def partial(self) -> bool:
        """Whether some of the rows are used and some are not."""
        return any(self.used) and not all(self.used)


def verdict(given: Answer) -> str:
    """reproduced, not reproduced, undecided, or no data.

    Reproduced: p < 0.05 and the difference is as claimed. Not reproduced: p < 0.05 and it is the other way round; or it
    is smaller than the paper's, whose uncertainty counts, with p_gap < 0.05. Else undecided: more runs would tell.
    Fewer than `LEAST` realizations decide nothing, whatever their p.
    """
    if not math.isfinite(given.found.estimate):
        return "no data"
    if given.runs < LEAST:
        return "undecided"
    if given.p < NOMINAL:
        return "reproduced" if given.found.estimate < 0 else "not reproduced"
    return "not reproduced" if given.p_gap < NOMINAL and given.gap.estimate > 0 else "undecided"


def size_word(given: Answer) -> str:
    """How the size stands to the paper's: smaller, larger, or not told apart."""
    if given.runs < LEAST or not given.p_gap < NOMINAL:
        return "not told apart"
    return "smaller" if given.gap.estimate > 0 else "larger"


def answer(questions: Sequence[Question], by: OurRuns | Samples, paper: Samples) -> list[Answer]:
    """The questions, which are one family of tests, before one body of evidence."""
    answers = [_answer(question, by, paper) for question in questions]
    p = holm([charged(larger_p(a), a.looks) if a.runs >= LEAST else NAN for a in answers], family=len(answers))
    p_gap = holm([charged(a.gap.p, a.looks) if a.runs >= LEAST else NAN for a in answers], family=len(answers))
    return [replace(a, p=p, p_gap=q) for a, p, q in zip(answers, p, p_gap)]


def larger_p(given: Answer) -> float:
    """Before any correction; that of `found` where there is no model."""
    return max((p for p in (given.by_model.p, given.found.p) if math.isfinite(p)), default=NAN)


def _answer(question: Question, by: OurRuns | Samples, paper: Samples) -> Answer:
    """The mean is over rows that share `LEAST` realizations; if none does, over those that share the most."""
    shared = [by.shared(row) for row in question.rows]
    enough = max(min(LEAST, max(shared)), 1)
    used = tuple(count >= enough for count in shared)
    rows = [row for row, u in zip(question.rows, used) if u]
    if not rows:
        nothing = Difference(NAN)
        return Answer(question, used, nothing, nothing, nothing, nothing, nothing, 1, 0)
    weights = mean_weights(rows)
    ours, theirs = by.estimate(weights), paper.estimate(weights)
    return Answer(
        question,
        used,
        ours,
        by.by_model(weights),
        theirs,
        minus(ours, theirs),
        ratio(ours, theirs),
        by.looks(rows),
        min(count for count, u in zip(shared, used) if u),
    )


def mean_weights(rows: Iterable[Weights]) -> Weights:
    """The mean of weighted sums as one; cells whose weights cancel are left out."""
    rows = list(rows)
    total: dict[TableCell, float] = {}
    for row in rows:
        for cell, weight in row.items():
            total[cell] = total.get(cell, 0.0) + weight / len(rows)
    return {cell: weight for cell, weight in total.items() if abs(weight) > 1e-12}
