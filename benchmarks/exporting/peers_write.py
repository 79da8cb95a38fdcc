"""Run in a peer's environment: its files of the ``pick.pt2`` of a folder."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import numpy as np

PEER, FOLDER = sys.argv[1], Path(sys.argv[2]).resolve()


def torch_onnx() -> None:
    """Write the torch program as ONNX, as shipped."""
    import torch

    program = torch.export.load(FOLDER / "pick.pt2")
    sample = program.example_inputs[0]
    torch.onnx.export(program.module(), sample, str(FOLDER / "torch.onnx"), external_data=False)


def litert_torch() -> None:
    """Convert the torch program as shipped, and once with inputs channels last."""
    import litert_torch as peer
    import torch

    program = torch.export.load(FOLDER / "pick.pt2")
    module = program.module()
    sample = program.example_inputs[0]
    peer.convert(module, sample).export(str(FOLDER / "litert_torch.tflite"))
    last = peer.to_channel_last_io(module, args=[0])
    peer.convert(last, (sample[0].permute(0, 2, 3, 1).contiguous(),)).export(
        str(FOLDER / "litert_torch_nhwc.tflite")
    )


def onnx2tf(name: str, source: Path) -> None:
    """Make a TFLite file of an ONNX file as shipped."""
    import onnx2tf as peer

    out = FOLDER / f"onnx2tf_{name}"
    out.mkdir(exist_ok=True)
    # It would fetch pictures to compare values on, for inputs of three channels.
    os.chdir(out)
    pictures = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
    np.save("calibration_image_sample_data_20x128x128x3_float32.npy", pictures)
    copy = out / "read.onnx"  # it rewrites what it reads
    shutil.copy(source, copy)
    peer.convert(input_onnx_file_path=str(copy), output_folder_path=str(out), non_verbose=True)
    (made,) = out.glob("*_float32.tflite")
    shutil.copy(made, FOLDER / f"onnx2tf_{name}.tflite")


def main() -> None:
    """Have each peer try; one that cannot says so and leaves no file."""
    tries = {
        "torch": (torch_onnx,),
        "litert_torch": (litert_torch,),
        "onnx2tf": (
            lambda: onnx2tf("torch", FOLDER / "torch.onnx"),
            lambda: onnx2tf("ours", FOLDER / "edgenas.onnx"),
        ),
    }
    names = {"torch": ("torch", "onnxscript"), "litert_torch": ("litert-torch",)}
    used = names.get(PEER, (PEER, "tensorflow"))
    versions = {name: metadata.version(name) for name in used}
    (FOLDER / f"{PEER}.versions.json").write_text(json.dumps(versions), encoding="utf-8")
    for attempt in tries[PEER]:
        try:
            attempt()
        except Exception as error:  # noqa: BLE001  # whatever stops a peer is told
            print(f"{PEER}: {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
