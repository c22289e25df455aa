"""The answer for a reader with three minutes: in direction, where not, in size, how sure; made from the records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sesn_lib.analysis import power, whole
from sesn_lib.analysis.claims import REPORT, US, Answer
from sesn_lib.analysis.duels import Duel, short_sentence
from sesn_lib.analysis.published import PAPER_RUNS, REGIME, Published
from sesn_lib.analysis.results import Results
from sesn_lib.analysis.sizes import gain_sentence
from sesn_lib.analysis.statistics import LEAST
from sesn_lib.analysis.text import p_is
from sesn_lib.analysis.verdicts import Findings, sizes_sentence
from sesn_lib.experiments.mnist_scale import GRID


def places(given: Iterable[Answer], *words: str) -> str:
    """`SESN beats the plain CNN (28, 56); ...`: the claims with these verdicts, and where; empty for none."""
    found: dict[str, list[str]] = {}
    for a in given:
        if a.verdict in words:
            found.setdefault(a.question.claim, []).append(a.question.where)
    return "; ".join(f"{claim} ({', '.join(where)})" for claim, where in found.items())


def in_brief(
    findings: Findings, results: Results, published: Published, found: Sequence[Duel], looked: Sequence[int] = ()
) -> str:
    """A Markdown list; what cannot be said yet is said to be so. `looked`: as `verdicts.evidence` takes it."""
    report = findings.regimes[REPORT]
    lines: Mapping[str, str] = {
        "In direction (who is better)": _sign(findings),
        "Where not": _where_not(findings),
        "In size": sizes_sentence(findings),
        "SESN’s mean error": whole.sentence(whole.sides(results, published, findings.model)),
        "How sure": _how_sure(findings),
        "Small digits": gain_sentence(results, looked),
        "Every other method": short_sentence(results, found),
        "The earlier report’s runs": _report(report),
    }
    if not findings.runs:
        head = f"Nothing yet from our own runs: none of the {len(GRID)} is done."
        lines = {key: lines[key] for key in ("Every other method", "The earlier report’s runs")}
    else:
        head = _head(findings, results)
    return "\n".join([head, "", *(f"- **{key}.** {line[0].upper()}{line[1:]}" for key, line in lines.items())])


def _head(findings: Findings, results: Results) -> str:
    """How many of the runs behind table and verdict are there."""
    needed, there = PAPER_RUNS * len(REGIME), sum(len(results.condition(*cell)) for cell in REGIME)
    count = f"all {needed}" if there == needed else f"{there} of {needed}"
    columns = "28, 56: pixels a side; +: training digits rescaled at random"
    return f"From {count} runs of SESN and CNN in the table ({columns}):"


def _report(given: Sequence[Answer]) -> str:
    said = f"reproduced: {places(given, 'reproduced') or 'nothing'}; it trained no CNN"
    counts = sorted({a.runs for a in given if a.verdict == "reproduced"})
    n = " or ".join(map(str, counts))
    return said + (f" (Welch contrast, n = {n} runs a cell or more, Holm over {len(given)})." if counts else ".")


def _sign(findings: Findings) -> str:
    said = places(findings.regimes[US], "reproduced")
    return f"reproduced: {said}." if said else "nothing is reproduced yet."


def _where_not(findings: Findings) -> str:
    words = {"not reproduced": "not reproduced", "undecided": "undecided", "no data": "no run yet"}
    parts = [(said, places(findings.regimes[US], word)) for word, said in words.items()]
    return ("; ".join(f"{said}: {where}" for said, where in parts if where) or "nowhere") + "."


def _how_sure(findings: Findings) -> str:
    judged = [a for a in findings.regimes[US] if a.runs]
    fewest, most = (end((a.runs for a in judged), default=0) for end in (min, max))
    if fewest < LEAST:
        return f"fewer than {LEAST} realizations decide nothing: such a difference is a direction, not a verdict."
    said = [
        f"each effect is seen in {fewest} realizations{'' if fewest == most else ' or more'} and tested twice, by a "
        "paired t-test and by one statistical model of all runs; the larger p counts."
    ]
    sure = [a.p for a in judged if a.verdict == "reproduced"]
    if sure:
        corrected = f"charged for looks, Holm over {len(findings.regimes[US])}"
        said.append(f"The least sure of what is reproduced has {p_is(max(sure))} ({corrected}).")
    return " ".join([*said, power.sentence(findings)]).strip()
