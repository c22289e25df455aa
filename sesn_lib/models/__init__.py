"""The networks of the report, by name."""

from sesn_lib.models.zoo import (
    MNIST_CONFIGURATIONS,
    Configuration,
    build,
    configuration,
    load_official,
    names,
)

__all__ = ["MNIST_CONFIGURATIONS", "Configuration", "build", "configuration", "load_official", "names"]
