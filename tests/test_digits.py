"""What six realizations of one pool of digits cannot show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from recorded import recorded

from sesn_lib.analysis import digits
from sesn_lib.analysis.evidence import OurRuns
from sesn_lib.analysis.results import Results
from sesn_lib.experiments.correctness import encode
from sesn_lib.experiments.mnist_scale import Cell

SESN, CNN = ("SESN Vector", "28"), ("CNN", "28")


def test_what_is_hidden_by_a_simulation() -> None:
    """Six test sets drawn from one pool: the scatter of their mean beyond what their own scatter tells."""
    draws = np.random.default_rng(0)
    pool, size, errors = 1400, 1000, []
    seen = []
    for _ in range(600):
        gain = draws.choice([1, 0, -1], pool, p=[0.2, 0.7, 0.1])
        means = np.array([gain[draws.permutation(pool)[:size]].mean() for _ in range(6)])
        errors.append(means.mean())
        seen.append(means.var(ddof=1) / 6)
    hidden = np.var(errors) - np.mean(seen)
    one = (0.3 - 0.1**2) / size
    assert hidden == pytest.approx(one * size / pool, rel=0.15)


def test_which_digits_were_right_are_used_where_records_know() -> None:
    assert digits.discordant(recorded(), SESN, CNN) is None
    records = {}
    for model, wrong in (("mnist_ses_vector_28", {0, 1}), ("mnist_cnn_28", {1, 2, 3})):
        correct = encode(index not in wrong for index in range(200))
        records[Cell(model, 1.0, 0)] = {"correct": correct, "test_images": 200}
    assert digits.discordant(Results(records), SESN, CNN) == pytest.approx(100 * 3 / 200)  # 0, 2 and 3


def test_the_table_by_hand() -> None:
    ours = OurRuns(recorded())
    table = digits.digits_table(ours)
    assert len(table) == 8
    row = table.loc["SESN Vector 28 before CNN"]
    errors = [np.mean(list(recorded().condition(*cell).values())) / 100 for cell in (SESN, CNN)]
    bound = 100 * math.sqrt((sum(errors) - (errors[0] - errors[1]) ** 2) / 50000 * 5 / 7)
    assert row["hidden in common digits"] == f"at most {bound:.3f}"
    both = math.hypot(ours.estimate({SESN: 1.0, CNN: -1.0}).error, bound)
    assert row["difference / both"] == f"at least {0.369 / both:.1f}"
    assert digits.digits_table(OurRuns(Results({}))).empty
