"""Why a whole run stops."""

from batch.errors import *  # noqa: F403
