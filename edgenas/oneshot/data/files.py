"""Images that stay in their files and are decoded when a batch needs them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgenas.core.errors import DataError
from edgenas.oneshot.data.base import Augmentation, Int64, Part, UInt8
from edgenas.oneshot.data.decoding import CENTRE_SHARE, Decoded, DecodingTask, decode
from edgenas.oneshot.data.processes import decoding_processes

if TYPE_CHECKING:
    from hashlib import _Hash

    from edgenas.oneshot.data.loading import BatchRequest

_LOG = logging.getLogger(__name__)
N_SAMPLE = 512
"""Images whose mean and deviation stand for all; an error of about 0.006 on a scale of 0 to 1."""
_N_REPLACEMENTS = 100

Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, eq=False)
class FilePart(Part):
    """Images in files, and their labels.

    A broken file is an error when it is met, or, with `skip_broken`, another image of the same
    label takes its place, always the same one, with a warning.

    Attributes:
        folder: where the names begin.
        names: of the files, from `folder` on, shape (n,).
        stamps: size in bytes and time of the last change in ns when they were listed, (n, 2).
        labels: shape (n,); -1 where images have none.
        channels: 1 (grey) or 3 (RGB).
        sample_px: height and width in which a sample is taken.
        skip_broken: see above.
    """

    folder: Path
    names: Texts
    stamps: Int64
    labels: Int64
    channels: int
    sample_px: int
    skip_broken: bool = False
    _warned: set[str] = field(default_factory=set, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, and the height and width in which a sample is taken."""
        return self.channels, self.sample_px, self.sample_px

    @property
    def crop_share(self) -> float | None:
        """Of the short side, what the centre crop shows."""
        return CENTRE_SHARE

    def take(self, index: Int64) -> FilePart:
        """Return the images at `index`, in that order."""
        return replace(
            self, names=self.names[index], stamps=self.stamps[index], labels=self.labels[index]
        )

    def batch(self, index: Int64, size: tuple[int, int]) -> UInt8:
        """Return the centre crops of the images at `index`, of `size`.

        Raises:
            DataError: a file is broken, or was changed since it was listed.
        """
        task = self._task(index, size)
        return self._whole(decode(task), index, task)

    def decoded(
        self,
        requests: Iterable[BatchRequest],
        augmentation: Augmentation | None,
        *,
        n_workers: int,
        prefetch: int,
    ) -> Iterator[tuple[BatchRequest, UInt8]]:
        """Yield each request with its images, in its size (see `load_batches`).

        Raises:
            DataError: as for `batch`, or a decoding process died.
        """
        tasks = ((r, self._task(r.index, r.size, augmentation, r.seed)) for r in requests)
        if n_workers:
            n_ahead = max(prefetch, n_workers)
            results = decoding_processes(n_workers).decode(tasks, n_ahead=n_ahead)
        else:
            results = ((request, task, decode(task)) for request, task in tasks)
        for request, task, result in results:
            yield request, self._whole(result, request.index, task)

    def sample(self) -> UInt8:
        """Return centre crops of some images, always the same ones."""
        order = np.random.default_rng(0).permutation(len(self))
        return self.batch(np.sort(order[:N_SAMPLE]), self.shape[1:])

    def add_to(self, digest: _Hash) -> None:
        """Feed names, sizes, times of change and labels to a hash.

        Hashing what is in the files would take as long as reading all of them, minutes for every
        run. Who writes to a file changes its time: it is noticed, where its size stays as well.
        """
        digest.update(f"files{self.shape}{self.skip_broken}".encode())
        digest.update("\0".join(self.names).encode(errors="surrogateescape"))
        digest.update(self.stamps.astype("<i8").tobytes())
        digest.update(self.labels.astype("<i8").tobytes())

    def _task(
        self,
        index: Int64,
        size: tuple[int, int],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> DecodingTask:
        paths = tuple(f"{self.folder}/{name}" for name in self.names[index])
        positions = tuple(range(len(paths)))
        stamps = self.stamps[index]
        return DecodingTask(paths, stamps, size, self.channels, augmentation, seed, positions)

    def _whole(self, decoded: Decoded, index: Int64, task: DecodingTask) -> UInt8:
        """Return a batch, channels first, with its broken images replaced."""
        if decoded.broken and not self.skip_broken:
            raise DataError(
                f"{'; '.join(decoded.broken.values())}: no image that can be read; remove it, or "
                "set skip_broken to use others of its class in its place"
            )
        for place, reason in decoded.broken.items():
            decoded.images[place] = self._replacement(int(index[place]), place, task, reason)
        return decoded.images.transpose(0, 3, 1, 2)

    def _replacement(self, index: int, place: int, task: DecodingTask, reason: str) -> UInt8:
        """Return the next image of the same label that can be read."""
        same = np.flatnonzero(self.labels == self.labels[index])
        start = int(np.searchsorted(same, index))
        for other in np.roll(same, -start)[1 : 1 + _N_REPLACEMENTS]:
            one = self._task(np.array([other]), task.size, task.augmentation, task.seed)
            decoded = decode(replace(one, positions=(task.positions[place],)))
            if not decoded.broken:
                if reason not in self._warned:
                    self._warned.add(reason)
                    _LOG.warning("%s cannot be read; %s is used for it", reason, one.paths[0])
                image: UInt8 = decoded.images[0]
                return image
        raise DataError(
            f"{reason}: no image that can be read, and none of the next {_N_REPLACEMENTS} of its "
            "class is; check the folder"
        )


def list_files(folder: Path) -> tuple[list[str], Int64]:
    """Return the files under `folder`, sorted, and their sizes and times of change.

    Names begin after `folder`; hidden files are left out, links to folders are not followed.

    Raises:
        DataError: a folder cannot be listed.
    """
    found: list[tuple[list[str], int, int]] = []
    try:
        _list_into(str(folder), [], found)
    except OSError as error:
        raise DataError(f"cannot list {folder}: {error}") from error
    found.sort()  # part by part, as paths are sorted
    stamps = np.array([entry[1:] for entry in found], np.int64).reshape(-1, 2)
    return ["/".join(entry[0]) for entry in found], stamps


def _list_into(folder: str, above: list[str], found: list[tuple[list[str], int, int]]) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = [*above, entry.name]
            if entry.is_dir():
                if not entry.is_symlink():
                    _list_into(entry.path, name, found)
            elif not entry.name.startswith("."):
                found.append((name, *_stamp(entry)))


def _stamp(entry: os.DirEntry[str]) -> tuple[int, int]:
    try:
        status = entry.stat()
    except FileNotFoundError:  # a link to nothing
        return 0, 0
    return status.st_size, status.st_mtime_ns
