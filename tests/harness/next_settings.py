"""The settings of the service's next version: see versions.py."""

from tests.harness.settings import *  # noqa: F403
from tests.harness.versions import NEXT

ERRANDS = NEXT.errands
