"""scikit-learn's handwritten digits: 1797 images of 8 x 8 pixels, in every installation.

Source: UCI, Optical Recognition of Handwritten Digits, doi:10.24432/C50P49 (its test part).
"""

from __future__ import annotations

import numpy as np

from edgenas.oneshot.data.base import ArrayPart, Augmentation, RawDataset


def read_digits() -> RawDataset:
    """Return the digits; there is no official test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    # Values are counts from 0 to 16.
    images = np.round(bunch.images[:, None] * (255 / 16)).astype(np.uint8)
    return RawDataset(
        "digits",
        tuple(map(str, range(10))),
        {"train": ArrayPart(images, bunch.target.astype(np.int64))},
        Augmentation(max_shift_px=1, horizontal_flip=False),
        "8 x 8 counts of 0 to 16, times 255 / 16, rounded",
    )
