"""The paper's claims before the three bodies of evidence, in words and tables that are made from the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from sesn_lib.analysis.claims import (
    CLAIMS,
    COMPARISONS,
    INTERACTIONS,
    PAPER,
    REGIMES,
    REPORT,
    US,
    Answer,
    Question,
    answer,
    size_word,
)
from sesn_lib.analysis.effects import charged
from sesn_lib.analysis.evidence import OurRuns, Samples
from sesn_lib.analysis.mixed import Mixed
from sesn_lib.analysis.published import Published, regroup
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.statistics import LEAST, NOMINAL, holm
from sesn_lib.analysis.text import DASH, interval, listed, p_is, p_value, signed
from sesn_lib.experiments.mnist_scale import GRID

OURS_FIRST = (US, PAPER, REPORT)


@dataclass(frozen=True)
class Findings:
    """Source (`PAPER`, `REPORT`, `US`) -> answers, for each of four families of tests; and the model behind ours."""

    claims: Mapping[str, Sequence[Answer]]
    regimes: Mapping[str, Sequence[Answer]]
    comparisons: Mapping[str, Sequence[Answer]]
    interactions: Mapping[str, Sequence[Answer]]
    model: Mixed
    runs: int


def evidence(results: Results, published: Published, looked: Sequence[int] = ()) -> Findings:
    """All questions before all evidence; `looked`: with how many runs the results were looked at before."""
    paper, ours = Samples(published.paper), OurRuns(results, looked)
    report = Samples({name: cell.sample for name, cell in regroup(published).items()})
    sources: dict[str, OurRuns | Samples] = {PAPER: paper, REPORT: report, US: ours}

    def family(questions: Sequence[Question]) -> dict[str, list[Answer]]:
        return {name: answer(questions, source, paper) for name, source in sources.items()}

    return Findings(
        family(CLAIMS), family(REGIMES), family(COMPARISONS), family(INTERACTIONS), ours.model, len(results.records)
    )


# Tables


def percent(given: Answer) -> str:
    """`84 % [66, 105]`: the share of the paper's size with its interval; a dash where the paper's may be zero."""
    share = given.share
    if not (math.isfinite(share.low) and math.isfinite(share.high)):
        return DASH
    return f"{100 * share.estimate:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]".replace("-", "−")


def _word(source: str, given: Answer) -> str:
    word = given.verdict
    return {"reproduced": "supported", "not reproduced": "not supported"}.get(word, word) if source == PAPER else word


def _said(source: str, given: Answer) -> str:
    word = _word(source, given)
    part = f" ({sum(given.used)} of {len(given.used)}; the paper {signed(given.paper.estimate)})"
    return word if word == "no data" else f"{word}: {interval(given.found)}{part if given.partial else ''}"


def claims_table(findings: Findings, sources: Sequence[str] = OURS_FIRST) -> pd.DataFrame:
    """Verdict and difference per claim, regime and source, and how much of the paper's size ours has.

    Where a source has only some of a regime's comparisons, its mean is held against the paper's over the same ones:
    `(2 of 3; the paper −0.32)` says how many, and that mean.
    """
    rows = {
        (ours.question.claim, ours.question.where): [
            *(_said(source, findings.regimes[source][index]) for source in sources[:1]),
            percent(ours),
            *(_said(source, findings.regimes[source][index]) for source in sources[1:]),
        ]
        for index, ours in enumerate(findings.regimes[US])
    }
    index = pd.MultiIndex.from_tuples(rows, names=["claim", "regime"])
    return pd.DataFrame(list(rows.values()), index=index, columns=[*sources[:1], "of the paper's size", *sources[1:]])


def how_tested(given: Sequence[Answer]) -> pd.DataFrame:
    """How ours was tested: over realizations, by the model alone, against the paper; all p."""
    rows = []
    for a in given:
        row = {
            "claim": a.question.claim,
            "where": a.question.where,
            "ours": interval(a.found),
            "n": str(a.found.n[0]),
            "p": p_value(a.found.p),
        }
        row |= {"looks": str(a.looks), "p, corrected": p_value(a.p)}
        row |= {"model alone": interval(a.by_model), "p, model alone": p_value(a.by_model.p)}
        row |= {"ours − paper": interval(a.gap), "p of that, corrected": p_value(a.p_gap)}
        rows.append(row)
    return pd.DataFrame(rows).set_index(["claim", "where"])


def comparisons_table(findings: Findings) -> pd.DataFrame:
    """Verdict and difference of every comparison of every claim, per source."""
    rows = [
        [a.question.claim, a.question.where, *(_said(source, findings.comparisons[source][i]) for source in OURS_FIRST)]
        for i, a in enumerate(findings.comparisons[US])
    ]
    return pd.DataFrame(rows, columns=["claim", "comparison", *OURS_FIRST])


def interactions_table(findings: Findings) -> pd.DataFrame:
    """How much each effect changes between regimes, per source; p corrected within the family."""
    rows = {}
    for i, a in enumerate(findings.interactions[US]):
        cells = [
            interval(given[i].found) + (f", {p_is(given[i].p)}" if math.isfinite(given[i].p) else "")
            for given in (findings.interactions[source] for source in OURS_FIRST)
        ]
        rows[a.question.claim, a.question.where] = cells
    index = pd.MultiIndex.from_tuples(rows, names=["effect of", "change"])
    return pd.DataFrame(list(rows.values()), index=index, columns=list(OURS_FIRST))


def closing_table(findings: Findings) -> pd.DataFrame:
    """Claim by claim: the answer, which single comparisons do not share it, and how sure one can be."""
    rows = {}
    for claim, given in _by_claim(findings.regimes[US]):
        single = [a for a in findings.comparisons[US] if a.question.claim == claim]
        unclear = [a for a in single if a.verdict != "reproduced"]
        few = len({(a.verdict) for a in single}) > 1
        rows[claim] = [
            sentence(given).replace("*", ""),
            "; ".join(f"{a.question.where}: {a.verdict}" for a in unclear) if unclear and few else "all alike",
            _how_sure(given),
        ]
    columns = ["answer", "comparisons that are not clear", "how sure"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("claim")


def _how_sure(given: Sequence[Answer]) -> str:
    """The fewest realizations, the largest corrected p of what is called reproduced, where the two tests part."""
    judged = [a for a in given if a.runs]
    if not judged:
        return "no run yet"
    said = [f"n = {min(a.runs for a in judged)} realizations or more"]
    sure = [a.p for a in judged if a.verdict == "reproduced"]
    said += (
        [f"corrected p of what is reproduced {'at most ' if max(sure) >= 0.001 else ''}{p_value(max(sure))}"]
        if sure
        else []
    )
    apart = ", ".join(a.question.where for a in model_alone(judged))
    said += [f"{apart}: p below {NOMINAL}, uncorrected, by the model alone, not over realizations"] if apart else []
    return "; ".join(said)


def model_alone(given: Sequence[Answer]) -> list[Answer]:
    """What the model alone would be surer of than the test over realizations, both before correction."""
    return [a for a in given if a.runs >= LEAST and a.by_model.p < NOMINAL <= a.found.p]


# Sentences


def _where(given: Answer, numbers: bool) -> str:
    place = given.question.where
    if not numbers or not math.isfinite(given.found.estimate):
        return place
    share, _, bounded = percent(given).partition(" [")
    return f"{place} ({interval(given.found)}{f'; {share} of the paper’s' if bounded else ''})"


def sentence(given: Sequence[Answer], source: str = US, *, numbers: bool = True) -> str:
    """One claim in its regimes: `*reproduced* at 28 (−0.39 [...]; 84 % of the paper’s); *undecided* at 28+ (...)`."""
    parts, words = [], list(dict.fromkeys(_word(source, a) for a in given))
    if len(words) == 1 and not numbers and len(given) > 1:
        return f"*{words[0]}*" + (" in all" if words != ["no data"] else "")
    for word in words:
        places = [_where(a, numbers) for a in given if _word(source, a) == word]
        parts.append(f"*{word}* {'at ' if places[0][0].isdigit() else ''}{listed(places)}")
    return "; ".join(parts)


def _by_claim(given: Sequence[Answer]) -> list[tuple[str, list[Answer]]]:
    return [(claim, list(some)) for claim, some in groupby(given, key=lambda a: a.question.claim)]


def sizes_sentence(findings: Findings) -> str:
    """Which effects of ours are told apart from the paper's in size."""
    judged = [a for a in findings.regimes[US] if a.runs >= LEAST]
    if not judged:
        return f"No regime has {LEAST} realizations yet: nothing can be said of sizes."
    told = [
        f"{a.question.claim}, {a.question.where}: {size_word(a)}" for a in judged if size_word(a) != "not told apart"
    ]
    differs = f"{len(told) or 'none'} differ{'s' * (len(told) <= 1)} significantly"
    count = f"Of {len(judged)} effects {differs} in size from the paper’s"
    n = " or ".join(map(str, sorted({a.runs for a in judged})))
    test = f"Satterthwaite’s t, n = {n} realizations of ours"
    if told:
        return f"{count}: {'; '.join(told)} ({test}, charged for looks, Holm over {len(findings.regimes[US])})."
    before = [a for a in judged if a.gap.p < NOMINAL]
    least = min((a.gap.p for a in judged if math.isfinite(a.gap.p)), default=math.nan)
    even = f"though {len(before)} would before correction" if before else "not even before correction"
    smallest = f", smallest {p_is(least)}, not corrected" if math.isfinite(least) else ""
    return f"{count}, {even} ({test}{smallest}).{_shares([a for a in judged if percent(a) != DASH])}"


def _shares(sized: Sequence[Answer]) -> str:
    """That effects which are not told apart are not the same for that."""
    if not sized:
        return ""
    shares = [100 * a.share.estimate for a in sized]
    ends = [100 * min(a.share.low for a in sized), 100 * max(a.share.high for a in sized)]
    said = f"{min(shares):.0f} to {max(shares):.0f} %, with intervals from {ends[0]:.0f} to {ends[1]:.0f} %"
    return f" That is no sameness: the {len(sized)} shares that are given are {said}.".replace("-", "−")


def _short(given: Answer) -> str:
    return f"{given.question.claim}, {given.question.where}"


def _changes(findings: Findings) -> str:
    found = [a for a in findings.interactions[US] if a.p < NOMINAL and a.runs >= LEAST]
    if not found:
        return ""
    said = "; ".join(f"{_short(a)}: {interval(a.found)}, {p_is(a.p)}" for a in found)
    corrected = f"charged for looks, then Holm over {len(findings.interactions[US])}"
    test = f"paired t over {min(a.runs for a in found)} realizations and mixed model, the larger p; {corrected}"
    return f"- It depends on the regime (looked for afterwards; {test}): {said}."


def narrower_sentence(findings: Findings) -> str:
    """Where the mixed model alone is surer, before correction, than the test over realizations; empty for nowhere."""
    given = findings.regimes[US]
    apart = model_alone(given)
    if not apart:
        return ""
    after = holm([charged(a.by_model.p, a.looks) for a in given], len(given))
    corrected = {id(a): p for a, p in zip(given, after)}
    said = "; ".join(f"{_short(a)}: {interval(a.by_model)}, {p_is(corrected[id(a)])}" for a in apart)
    test = f"mixed model, n = {findings.model.n} runs; charged for looks, Holm over {len(given)}"
    return f"Narrower, were every realization equally hard for all networks ({test}): {said}."


def headline(findings: Findings) -> str:
    """Where the claims stand in words, as Markdown, beside a table: ours as a list, the report, a caution."""
    report = " ".join(
        f"{claim}: {sentence(given, REPORT, numbers=False)}." for claim, given in _by_claim(findings.regimes[REPORT])
    )
    published = f"**From published figures alone** (the report's runs). {report}"
    if not findings.runs:
        return f"**From our own runs.** Nothing yet: none of the {len(GRID)} is done.\n\n{published}"
    lines = [f"**From our own runs** ({findings.runs} of {len(GRID)}), effect by effect and regime by regime:\n"]
    lines += [f"- {claim}: {sentence(given, numbers=False)}." for claim, given in _by_claim(findings.regimes[US])]
    lines += [f"- {sizes_sentence(findings)}", _changes(findings)]
    counts = [a.runs for a in findings.regimes[US] if any(a.used)]
    caution = f"Fewer than {LEAST} realizations decide nothing: such a difference is a direction, not a verdict."
    few = [caution] if counts and min(counts) < LEAST else []
    return "\n\n".join(["\n".join(line for line in lines if line), *few, published])
