"""One measurement of the networks of a space: which, in which order, what it is of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgenas.core.architecture import Genes
from edgenas.costs.kinds import SOURCES, Kind, Source
from edgenas.hardware.device import Device
from edgenas.profiling.tabulate import engine_settings
from edgenas.profiling.whole_networks import NetworkSettings
from edgenas.profiling.workload import ProfileSettings, calibration_networks
from edgenas.spaces.base import SearchSpace


@dataclass(frozen=True, slots=True)
class Campaign:
    """One measurement of networks, for kinds that it tells all at once."""

    device: Device
    runtime: str
    space: SearchSpace
    kinds: Sequence[Kind]
    settings: NetworkSettings
    precision: str

    @property
    def source(self) -> Source:
        """What is measured."""
        return SOURCES[self.kinds[0]]

    def networks(self) -> Genes:
        """Return the networks: deterministic in the space and the seed."""
        plan = ProfileSettings(n_networks=self.settings.n_networks or 0, seed=self.settings.seed)
        return calibration_networks(self.space, plan)

    def orders(self, n: int) -> list[list[int]]:
        """Return the order of `n` networks in each session, by number; each counts in all."""
        rng = np.random.default_rng(self.settings.seed)
        return [
            [int(i) for _ in range(self.settings.n_processes) for i in rng.permutation(n)]
            for _ in range(self.settings.n_sessions or 1)
        ]

    def identity(self, networks: Genes) -> dict[str, Any]:
        """Return what two parts of one measurement must have in common."""
        options = json.dumps(engine_settings(self.device, self.runtime), sort_keys=True)
        return {
            "measurement": self.source,
            "space": self.space.name,
            "space fingerprint": self.space.fingerprint,
            "networks": hashlib.sha256(networks.tobytes()).hexdigest()[:12],
            "device": self.device.fingerprint.match_key,
            "runtime": self.runtime,
            "runtime options": hashlib.sha256(options.encode()).hexdigest()[:12],
            "precision": self.precision,
            "settings": asdict(self.settings),
        }
