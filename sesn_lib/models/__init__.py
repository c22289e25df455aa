"""The networks of the report, by name."""

from sesn_lib.models.zoo import (
    CHANGED,
    MNIST_CONFIGURATIONS,
    Configuration,
    build,
    configuration,
    load_official,
    names,
)

__all__ = ["CHANGED", "MNIST_CONFIGURATIONS", "Configuration", "build", "configuration", "load_official", "names"]
