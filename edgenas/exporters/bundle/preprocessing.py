"""preprocessing.json: all that turns an image into the file's input, and its output into logits."""

from __future__ import annotations

from typing import Literal

from edgenas.core.schema import StrictModel
from edgenas.exporters.base import Codes
from edgenas.exporters.manifest import Manifest, Resize

Colour = Literal["grey", "rgb", "as stored"]
_COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb"}


class CodesEntry(StrictModel):
    """What codes stand for: ``(code - zero_point) * scale``."""

    scale: float
    zero_point: int


class InputTensor(StrictModel):
    """What the file takes, one batch."""

    name: str
    shape: tuple[int | str, ...]
    layout: str
    dtype: str
    codes: CodesEntry | None


class OutputTensor(StrictModel):
    """What the file returns: one logit a class."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str
    codes: CodesEntry | None


class Preprocessing(StrictModel):
    """The document; what is done, in order.

    1. The image is decoded to `channels` bytes a pixel: ``grey`` by ITU-R 601, or ``rgb``.
    2. `resize` frames and scales it (see `edgenas.exporters.manifest.Resize`).
    3. Bytes go to `pixel_range`, before what `resize` does without antialiasing.
    4. Of each channel `mean` is taken off, the rest divided by `std`.
    5. `input.layout` orders the axes; where there are `input.codes`, values become codes.
    """

    schema_version: Literal[1]
    colour: Colour
    channels: int
    resize: Resize
    pixel_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input: InputTensor
    output: OutputTensor


def preprocessing_of(
    manifest: Manifest, codes: tuple[CodesEntry | None, CodesEntry | None]
) -> Preprocessing:
    """Return the preprocessing of the file of `manifest`; `codes` of its input and output."""
    source, result = manifest.input, manifest.output
    channels = len(source.mean)
    return Preprocessing(
        schema_version=1,
        colour=_COLOURS.get(channels, "as stored"),
        channels=channels,
        resize=source.resize,
        pixel_range=source.pixel_range,
        mean=source.mean,
        std=source.std,
        input=InputTensor(
            name=source.name,
            shape=source.shape,
            layout=source.layout,
            dtype=source.dtype,
            codes=codes[0],
        ),
        output=OutputTensor(
            name=result.name, shape=result.shape, dtype=result.dtype, codes=codes[1]
        ),
    )


def entry_of(codes: Codes | None) -> CodesEntry | None:
    """Return what an exporter read of a tensor's codes, as the document has it."""
    return None if codes is None else CodesEntry(scale=codes.scale, zero_point=codes.zero_point)
