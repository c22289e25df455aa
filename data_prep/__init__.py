"""Fetch, verify and make the data sets of the report: MNIST, MNIST-scale and STL-10.

Importing this package imports nothing heavy; `data_prep.mnist_scale` and `data_prep.stl10` are the front doors. On the
command line: ``python -m data_prep --help``.
"""

from __future__ import annotations

__all__ = ["DataError"]


class DataError(RuntimeError):
    """Data could not be had, or were refused; the message is one line and says what would be right."""
