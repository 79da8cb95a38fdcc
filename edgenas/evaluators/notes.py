"""What is kept of a candidate while it is trained: checkpoint, curve so far, its attempt."""

from __future__ import annotations

import json
from pathlib import Path

from edgenas.core.errors import StorageError
from edgenas.core.files import write_json
from edgenas.oneshot.checkpoint import epochs_done


class CandidateFiles:
    """Files of one training of one architecture; another identity, other files.

    Args:
        folder: of all candidates; made when first written to.
        name: of the architecture.
        identity: hash of all that decides what the training gives.
    """

    def __init__(self, folder: Path, name: str, identity: str) -> None:
        stem = f"{name}-{identity}"
        self.folder = folder
        self.checkpoint = folder / f"{stem}.checkpoint"
        self.attempt = folder / f"{stem}.attempt.json"
        self._curve = folder / f"{stem}.curve.json"

    def read(self) -> dict[int, float]:
        """Return the accuracies that were found already, by epoch.

        Raises:
            StorageError: the file is damaged.
        """
        if not self._curve.exists():
            return {}
        try:
            found = json.loads(self._curve.read_text(encoding="utf-8"))
            return {int(epoch): float(value) for epoch, value in found.items()}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise StorageError(
                f"cannot read {self._curve}: {error}; delete it to train the candidate again"
            ) from error

    def write(self, accuracies: dict[int, float]) -> None:
        """Keep the accuracies found so far, whole or not at all."""
        write_json(self._curve, {str(epoch): value for epoch, value in accuracies.items()})

    def make_room(self, until: int) -> None:
        """Drop a checkpoint that has gone past `until`, of which no accuracy is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if epochs_done(self.checkpoint) > until:
            self.checkpoint.unlink()

    def remove(self) -> None:
        """Remove all of them."""
        for path in (self.checkpoint, self.attempt, self._curve):
            path.unlink(missing_ok=True)
