"""Scale-equivariant steerable networks: layers, models, and the experiment that reproduces the paper."""

__version__ = "0.1.0"
