"""What instances of AWS hold: cores, memory and network interfaces of the families that platforms use.

Read by `rules.capacity`. A family that is not here is not checked: AWS adds some each year.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

# vCPU and GiB by size (EC2 User Guide, instance types). Sizes beyond 4xlarge hold every task that Fargate has.
_BURSTABLE: Final[Mapping[str, tuple[int, float]]] = {
    "nano": (2, 0.5), "micro": (2, 1), "small": (2, 2), "medium": (2, 4), "large": (2, 8), "xlarge": (4, 16),
    "2xlarge": (8, 32),
}  # fmt: skip
_GENERAL: Final[Mapping[str, tuple[int, float]]] = {
    "large": (2, 8),
    "xlarge": (4, 16),
    "2xlarge": (8, 32),
    "4xlarge": (16, 64),
}
_COMPUTE: Final[Mapping[str, tuple[int, float]]] = {
    "large": (2, 4),
    "xlarge": (4, 8),
    "2xlarge": (8, 16),
    "4xlarge": (16, 32),
}
_MEMORY: Final[Mapping[str, tuple[int, float]]] = {
    "large": (2, 16),
    "xlarge": (4, 32),
    "2xlarge": (8, 64),
    "4xlarge": (16, 128),
}
_FAMILIES: Final[Mapping[str, Mapping[str, tuple[int, float]]]] = {
    **dict.fromkeys(("t3", "t3a", "t4g"), _BURSTABLE),
    **dict.fromkeys(("m5", "m5a", "m6a", "m6g", "m6i", "m7a", "m7g", "m7i", "m8g"), _GENERAL),
    **dict.fromkeys(("c5", "c5a", "c6a", "c6g", "c6i", "c7a", "c7g", "c7i", "c8g"), _COMPUTE),
    **dict.fromkeys(("r5", "r5a", "r6a", "r6g", "r6i", "r7a", "r7g", "r7i", "r8g"), _MEMORY),
}
# Network interfaces by size, of the families above (EC2 User Guide, Maximum IP addresses per network interface).
_INTERFACES: Final[Mapping[str, int]] = {
    "nano": 2, "micro": 2, "small": 3, "medium": 3, "large": 3, "xlarge": 4, "2xlarge": 4, "4xlarge": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Room:
    """CPU units and MiB for tasks."""

    cpu: int
    memory_mib: int

    def holds(self, cpu: int, memory_mib: int) -> bool:
        """Whether that much fits in."""
        return cpu <= self.cpu and memory_mib <= self.memory_mib

    def times(self, count: int) -> "Room":
        """The room of several of them."""
        return Room(self.cpu * count, self.memory_mib * count)


def room_of(instance: str, share: float) -> Room | None:
    """What tasks get of an instance when `share` of its memory is theirs; None for one that is not known here."""
    family, _, size = instance.partition(".")
    found = _FAMILIES.get(family, {}).get(size)
    return None if found is None else Room(found[0] * 1024, int(found[1] * 1024 * share))


def interfaces_of(instance: str) -> int | None:
    """How many network interfaces an instance has, its own first one included; None for one that is not known here."""
    family, _, size = instance.partition(".")
    if size not in _FAMILIES.get(family, {}):
        return None
    # The one that has fewer than its size says.
    return 2 if instance == "t3a.small" else _INTERFACES[size]
