"""Which symbolic links below a site's folder are followed."""

from __future__ import annotations

import enum


class Symlinks(enum.Enum):
    """What a symbolic link below a site's folder may lead to.

    INSIDE follows the links that stay below the folder, ALL follows every link, and NONE
    follows none: such a path answers as if it were not there.
    """

    INSIDE = "inside"
    ALL = "all"
    NONE = "none"
