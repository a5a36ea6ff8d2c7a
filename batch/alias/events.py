"""What happens in a run."""

from batch.engine.events import *  # noqa: F403
