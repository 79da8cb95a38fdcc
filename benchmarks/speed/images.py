"""How fast image files are decoded, by processes and draft mode, and how long training waits.

The pictures are written for it: noise of many scales in colour, compressed to about the size of
photographs. Reading comes from the page cache: this is about decoding, not about disks.

    python -m benchmarks.speed.images
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from benchmarks.environment import environment
from edgenas import spaces
from edgenas.core.files import write_json
from edgenas.lowering.torch import GraphModule
from edgenas.oneshot.data import BatchRequest, ImageDataset, load_batches, load_dataset
from edgenas.oneshot.data import decoding as decoding_module
from edgenas.oneshot.data.batches import network_input
from edgenas.oneshot.data.files import list_files
from edgenas.oneshot.data.processes import close_processes
from edgenas.oneshot.data.settings import IMAGENET_MEAN, IMAGENET_STD

RESULTS = Path(__file__).parent / "results" / "images.json"
PICTURES = {"500x400": (2000, 500, 400), "2400x1800": (100, 2400, 1800)}
"""How many of each size."""
N_BATCHES = {"500x400": 8, "2400x1800": 2}
"""How many are decoded at a time to find a rate."""
SIZES = (128, 160, 192, 224)
BATCH = 32
N_WORKERS = (0, 1, 2)
N_ROUNDS = 3
TRAINED = {"ofa_mbv3_w1.0": SIZES, "mbv3_tiny": (64,)}
"""Networks that are trained meanwhile, and the sizes of their inputs."""
N_STEPS = {"ofa_mbv3_w1.0": 5, "mbv3_tiny": 40}


def write_pictures(folder: Path, n: int, width: int, height: int) -> float:
    """Write `n` JPEGs in two classes and return their mean size in KiB."""
    rng = np.random.default_rng(0)
    for i in range(n):
        total = np.zeros((height, width, 3))
        for scale in (4, 16, 64, 256):
            shape = (max(2, height * scale // 400), max(2, width * scale // 500), 3)
            small = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
            total += (
                np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) / scale**0.25
            )
        pixels = (total - total.min()) / np.ptp(total) * 255
        path = folder / "ab"[i % 2] / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=92)
    return float(np.mean([path.stat().st_size for path in folder.rglob("*.jpg")])) / 1024


def dataset_of(folder: Path) -> ImageDataset:
    return load_dataset(
        f"imagefolder:{folder}",
        in_memory=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        horizontal_flip=True,
        workers=0,
    )


def requests_of(dataset: ImageDataset, n: int, sizes: tuple[int, ...]) -> Iterator[BatchRequest]:
    """Yield `n` batches of random images, the size of each drawn from `sizes`."""
    rng = np.random.default_rng(1)
    for i in range(n):
        index = rng.choice(len(dataset.train), BATCH, replace=len(dataset.train) < BATCH)
        yield BatchRequest(index, (int(rng.choice(sizes)),) * 2, i)


def decoded_per_s(
    dataset: ImageDataset, n_batches: int, sizes: tuple[int, ...], *, augment: bool, n_workers: int
) -> dict[str, float]:
    """Return images decoded a second, the processes already running: median of rounds.

    Without processes also the CPU time of an image, which other programs do not touch as much.
    """
    rates, cpu_ms = [], []
    for _ in range(N_ROUNDS + 1):
        requests = requests_of(dataset, n_batches, sizes)
        began, cpu_began = time.perf_counter(), time.process_time()
        batches = load_batches(
            dataset, dataset.train, requests, augment=augment, n_workers=n_workers
        )
        n_images = sum(len(labels) for _, labels in batches)
        rates.append(n_images / (time.perf_counter() - began))
        cpu_ms.append((time.process_time() - cpu_began) / n_images * 1e3)
    found = {"images_per_s": round(median(rates[1:]), 1)}  # the first round starts the processes
    if n_workers == 0:
        found["cpu_ms_an_image"] = round(median(cpu_ms[1:]), 3)
    return found


def decoding(dataset: ImageDataset, n_batches: int) -> dict[str, Any]:
    """Return images a second: by purpose, processes, draft mode."""
    found: dict[str, Any] = {}
    for purpose, sizes in (("training", SIZES), ("training_128", (128,)), ("evaluation", (224,))):
        augment = purpose != "evaluation"
        rates = {
            f"{n}_workers": decoded_per_s(dataset, n_batches, sizes, augment=augment, n_workers=n)
            for n in N_WORKERS
        }
        with patch.object(decoding_module, "draft_factor", lambda *_args, **_settings: 1):
            whole = decoded_per_s(dataset, n_batches, sizes, augment=augment, n_workers=0)
        found[purpose] = {**rates, "0_workers_without_draft": whole}
    return found


def waiting(dataset: ImageDataset, space_name: str, n_workers: int) -> dict[str, Any]:
    """Train a space's largest network for a moment; return the share of time without data."""
    sizes, n_steps = TRAINED[space_name], N_STEPS[space_name]
    space = spaces.get(space_name, input_channels=3)
    module = GraphModule(space.network(space.largest())).train()
    optimiser = torch.optim.SGD(module.parameters(), lr=0.01)
    batches = load_batches(
        dataset,
        dataset.train,
        requests_of(dataset, n_steps, sizes),
        augment=True,
        n_workers=n_workers,
    )
    waits, steps = [], []
    for _ in range(n_steps):
        began = time.perf_counter()
        images, labels = next(batches)
        come = time.perf_counter()
        size = (images.shape[2], images.shape[3])
        outputs = module(network_input(images, dataset.mean, dataset.std, size))
        optimiser.zero_grad()
        functional.cross_entropy(outputs, labels).backward()
        optimiser.step()
        waits.append(come - began)
        steps.append(time.perf_counter() - come)
    total = sum(waits[1:]) + sum(steps[1:])
    return {
        "first_wait_s": round(waits[0], 3),
        "median_wait_s": round(median(waits[1:]), 4),
        "median_step_s": round(median(steps[1:]), 4),
        "share_waited": round(sum(waits[1:]) / total, 4),
        "images_per_s": round(BATCH * (n_steps - 1) / total, 1),
    }


def main() -> None:
    """Write the pictures, measure, write the figures."""
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "command": "python -m benchmarks.speed.images",
        "batch": BATCH,
        "sizes": list(SIZES),
        "torch_threads": 1,
        "pictures": {},
        "waiting": {},
    }
    with tempfile.TemporaryDirectory() as name:
        for label, (n, width, height) in PICTURES.items():
            folder = Path(name) / label
            kib = write_pictures(folder, n, width, height)
            began = time.perf_counter()
            list_files(folder)
            listing_us = (time.perf_counter() - began) / n * 1e6
            facts = {"n": n, "mean_kib": round(kib, 1), "listing_us_a_file": round(listing_us, 2)}
            rates = decoding(dataset_of(folder), N_BATCHES[label])
            result["pictures"][label] = {**facts, **rates}
            print(label, result["pictures"][label], flush=True)
        for space_name in TRAINED:
            dataset = dataset_of(Path(name) / "500x400")
            found = {f"{n}_workers": waiting(dataset, space_name, n) for n in N_WORKERS}
            result["waiting"][space_name] = found
            print(space_name, found, flush=True)
    close_processes()
    result["environment"] = environment()
    write_json(RESULTS, result)


if __name__ == "__main__":
    main()
