"""Two versions of the service: its errands are tasks that have other names in the next one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Version:
    """What is different from one version to the other."""

    settings: str
    """Its DJANGO_SETTINGS_MODULE."""
    errands: str
    """What the names of its errands begin with."""

    def name(self, errand: str) -> str:
        """The name of a task."""
        return f"{self.errands}.{errand}"

    @property
    def other(self) -> "Version":
        return NEXT if self is THIS else THIS


THIS = Version("tests.harness.settings", "tests.harness.errands.tasks")
NEXT = Version("tests.harness.next_settings", "tests.harness.errands.renamed")
