"""A file tried in a process of its own: what it declares, answers and leaves to other kernels.

Engines are native code: a damaged file can end the process that opens it, or hang it. Here that is
an answer like any other. Arrays go back and forth as files in a temporary folder.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from edgenas.core.errors import EdgenasError, ExportError, StorageError
from edgenas.core.files import FREE, scratch_folder
from edgenas.exporters.base import EXPORTERS, Exporter, Signature

TIMEOUT_S = 600.0
_ASKED, _IMAGES, _TOLD, _LOGITS = (
    "asked.json",
    "images.safetensors",
    "told.json",
    "logits.safetensors",
)
_LOG_LINES = 8
_CANNOT_WRITE = 74  # exit status, as sysexits.h has it


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it.

    Attributes:
        signature: what the file declares.
        logits: answers by name of the images, shape (n, n_classes) each.
        outside: operators that the engine's accelerated part left to others, None if the engine
            does not tell.
    """

    signature: Signature
    logits: Mapping[str, npt.NDArray[np.float32]]
    outside: tuple[str, ...] | None


def try_file(
    exporter: Exporter,
    path: Path,
    images: Mapping[str, npt.NDArray[np.float32]],
    *,
    timeout_s: float = TIMEOUT_S,
) -> Trial:
    """Open a file in another process, in its exporter's place if it has one, and let it answer.

    Args:
        exporter: of the file.
        path: of the file.
        images: normalised, by name, shape (n, channels, height, width) each.
        timeout_s: after which the process is killed.

    Raises:
        ExportError: the file cannot be opened or run, or the process died or did not end.
        DeviceError: the place is a device, and it is lost: nothing is known of the file.
        StorageError: the images cannot be handed over: the temporary folder is full.
    """
    if exporter.place is not None:
        return exporter.place.try_file(
            path, images, precision=exporter.recipe.precision, timeout_s=timeout_s
        )
    with scratch_folder() as folder:
        asked = {
            "target": exporter.name,
            "recipe": exporter.recipe.model_dump(mode="json"),
            "path": str(path.resolve()),
        }
        (folder / _ASKED).write_text(json.dumps(asked), encoding="utf-8")
        given = {name: np.ascontiguousarray(array) for name, array in images.items()}
        try:
            save_file(given, folder / _IMAGES)
        except SafetensorError as error:  # which tells a full disk in words alone
            raise StorageError(f"cannot write {folder / _IMAGES}: {error}; {FREE}") from error
        _run(folder, path, timeout_s)
        told = json.loads((folder / _TOLD).read_text(encoding="utf-8"))
        if "error" in told:
            raise ExportError(told["error"])
        logits = load_file(folder / _LOGITS)
    outside = told["outside"]
    return Trial(_signature(told["signature"]), logits, None if outside is None else tuple(outside))


def _run(folder: Path, path: Path, timeout_s: float) -> None:
    command = [sys.executable, "-m", "edgenas.exporters.trial", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ExportError(
            f"{path}: no answer within {timeout_s:g} s; the checking process was ended"
        ) from error
    if done.returncode == 0 and (folder / _TOLD).exists():
        return
    log = "\n  ".join(done.stderr.decode(errors="replace").splitlines()[-_LOG_LINES:])
    if done.returncode == _CANNOT_WRITE:  # which says nothing of the file
        raise StorageError(f"cannot write {folder / _LOGITS}: {log}; {FREE}")
    raise ExportError(f"{path}: the checking process {_end(done.returncode)}\n  {log}".rstrip())


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with exit status {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _signature(told: Mapping[str, Any]) -> Signature:
    return Signature(
        told["input_name"],
        tuple(told["input_shape"]),
        told["output_name"],
        tuple(told["output_shape"]),
    )


# -- in the other process --------------------------------------------------------------------


def main(folder: Path) -> None:
    """Try the file that ``asked.json`` in `folder` names, and write what came of it."""
    asked = json.loads((folder / _ASKED).read_text(encoding="utf-8"))
    kind = EXPORTERS.get(asked["target"])
    exporter = kind(kind.recipe_model.model_validate(asked["recipe"], strict=False))
    path = Path(asked["path"])
    try:
        told: dict[str, Any] = {
            "signature": asdict(exporter.signature(path)),
            "outside": exporter.outside_delegate(path),
        }
        images = load_file(folder / _IMAGES)
        logits = {name: exporter.infer(path, array) for name, array in images.items()}
        _save(logits, folder)
    except EdgenasError as error:
        told = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - the engines' errors share no class
        told = {"error": f"{path}: it does not run: {type(error).__name__}: {error}"}
    (folder / _TOLD).write_text(json.dumps(told), encoding="utf-8")


def _save(logits: Mapping[str, npt.NDArray[np.float32]], folder: Path) -> None:
    """Write the answers, or end the process with the status that says that nothing can be."""
    try:
        save_file(dict(logits), folder / _LOGITS)
    except (OSError, SafetensorError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_CANNOT_WRITE)


if __name__ == "__main__":
    import edgenas.exporters  # noqa: F401  # registers what is built in

    main(Path(sys.argv[1]))
