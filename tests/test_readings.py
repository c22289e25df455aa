"""What the shipped networks read, digit by digit: the file beside them agrees with them and with their records."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from data_prep import DataError
from data_prep.mnist_scale import prepare
from sesn_lib import fast
from sesn_lib.data.splits import to_device
from sesn_lib.experiments.correctness import encode
from sesn_lib.runner import readings
from sesn_lib.store import weights
from sesn_lib.training.mnist_scale import evaluate

FOLDER = Path(__file__).resolve().parent.parent / "notebooks" / "results" / "checkpoints"


def test_discordance_by_hand() -> None:
    found = readings.discordance([True, True, True, False], [False, False, True, True])
    assert (found.digits, found.only_first, found.only_second, found.share) == (4, 2, 1, 0.75)
    assert found.p == pytest.approx(1.0)  # 2 to 1 by a coin
    assert readings.discordance([True] * 12, [False] * 10 + [True] * 2).p == pytest.approx(2 / 2**10)
    assert readings.discordance([True], [True]).p == 1.0
    with pytest.raises(ValueError, match="2 digits against 1: they must be the same ones"):
        readings.discordance([True, False], [True])


def test_the_shipped_networks_differ_on_all_digits() -> None:
    """2.09 % against 2.39 % of 50,000: 150 digits net, of about a thousand that only one of the two reads."""
    right = {}
    for label, cell in readings.SHIPPED.items():
        _, record = weights.load(FOLDER, cell)
        right[label] = readings.shipped(FOLDER, cell, record)
    found = readings.discordance(right["SESN"], right["CNN"])
    assert found.digits == 50000
    assert found.only_first - found.only_second == 150
    one = found.only_first + found.only_second
    assert found.p == pytest.approx(2 * stats.binom.sf(found.only_first - 1, one, 0.5), rel=1e-6)
    assert 1e-7 < found.p < 1e-5


@pytest.mark.slow
def test_the_file_is_what_the_networks_read() -> None:
    try:
        test = to_device(prepare(None, 0, "paper", progress=False).test, "cpu").first(300)
    except DataError as error:
        pytest.skip(str(error))
    assert readings.SHIPPED.keys() == {"SESN", "CNN"}
    for cell in readings.SHIPPED.values():
        network, record = weights.load(FOLDER, cell)
        read = evaluate(fast.accelerate(network), test, precision="float32").correct.numpy()
        # In another precision or on another processor a digit in many hundreds may fall to the other side.
        assert (read != readings.shipped(FOLDER, cell, record)[:300]).sum() <= 2


def test_a_file_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    cell = readings.SHIPPED["CNN"]
    _, record = weights.load(FOLDER, cell)
    with pytest.raises(FileNotFoundError):
        readings.shipped(tmp_path, cell, record)
    (tmp_path / readings.NAME).write_text(json.dumps({"another": ""}))
    with pytest.raises(ValueError, match=r"readings.json has no mnist_cnn_28-x1.0-r0; it has another"):
        readings.shipped(tmp_path, cell, record)
    (tmp_path / readings.NAME).write_text(json.dumps({cell.name: encode(np.ones(50000, bool).tolist())}))
    with pytest.raises(ValueError, match=r"comes to an error of 0.0 % for mnist_cnn_28-x1.0-r0, its record has 2.394"):
        readings.shipped(tmp_path, cell, record)
