"""The networks of the report, by name."""

from sesn_lib.models.official import load_official
from sesn_lib.models.zoo import CHANGED, MNIST_CONFIGURATIONS, Configuration, build, configuration, names

__all__ = ["CHANGED", "MNIST_CONFIGURATIONS", "Configuration", "build", "configuration", "load_official", "names"]
