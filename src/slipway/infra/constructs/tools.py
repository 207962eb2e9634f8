"""Programs that operators and builds fetch, each by version and checksum: what was not checked is not run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Download:
    """A file for x86-64, and the SHA-256 that its publisher states."""

    url: str
    sha256: str

    def fetch(self, to: str) -> str:
        """The command that fetches it, and fails for any other bytes."""
        return f"curl -fsSLo {to} {self.url} && echo '{self.sha256}  {to}' | sha256sum -c -"


# One for each version that a control plane may have; a client talks to the versions beside its own too.
_KUBECTL: Final[Mapping[str, tuple[str, str]]] = {
    "1.34": ("1.34.11", "8efbb9435132a190920eb65a47a8c1ecf755ad85ab57a600c9bedbab460bb7a8"),
    "1.35": ("1.35.8", "874d5e72dbb819f43cff16bcd1e4f8bac5b7f2361fe1e55049b0a6c676fb0cbf"),
    "1.36": ("1.36.4", "8b8f088da2dab964f853b38464033b1be15ede2839eca751482357c45abdd05a"),
}
HELM: Final = Download(
    "https://get.helm.sh/helm-v3.18.4-linux-amd64.tar.gz",
    "f8180838c23d7c7d797b208861fecb591d9ce1690d8704ed1e4cb8e2add966c1",
)


def kubectl(version: str) -> Download:
    """The client for a control plane's version: the same, else the nearest that is known."""
    known = sorted(_KUBECTL, key=lambda each: (abs(_minor(each) - _minor(version)), each))
    exact, sha256 = _KUBECTL[known[0]]
    return Download(f"https://dl.k8s.io/release/v{exact}/bin/linux/amd64/kubectl", sha256)


def _minor(version: str) -> int:
    return int(version.partition(".")[2])
