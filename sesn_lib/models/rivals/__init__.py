"""The other ways to treat scale that the paper compares with, each on the skeleton of the MNIST-scale networks.

One module a method; `table.RIVALS` holds their variants.
"""

from sesn_lib.models.rivals.table import RIVALS, Rival

__all__ = ["RIVALS", "Rival"]
