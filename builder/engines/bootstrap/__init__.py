"""Makes a base image from a distribution's packages where the image itself cannot be pulled.

mmdebstrap unpacks the packages. What comes out is laid out like the distribution's official image,
and is the same to the byte for the same state of the archives, so that its id says if a base moved.
"""

from builder.core.bases import bootstrap_reference
from builder.engines.bootstrap.recipe import (
    Recipe,
    read_recipe,
)
from builder.engines.bootstrap.rootfs import (
    KEY_LABEL,
    SUITE_LABEL,
    BootstrappedBase,
    bootstrap,
    load_with_docker,
    make_archive,
)

__all__ = [
    "KEY_LABEL",
    "SUITE_LABEL",
    "BootstrappedBase",
    "Recipe",
    "bootstrap",
    "bootstrap_reference",
    "load_with_docker",
    "make_archive",
    "read_recipe",
]
