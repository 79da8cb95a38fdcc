"""What hardware a device is, read from the device itself."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.base import Connector

_TIMEOUT_S = 30.0
MARK = "#=#"
"""Opens the line before each file's content; see `sections`."""
SHOW = f"""
show() {{ if [ -r "$1" ]; then echo "{MARK} $1"; cat "$1" 2>/dev/null; echo; fi; }}
"""
"""The shell's function that prints a file, if it is there, after its mark."""
_READ_ALL = f"""{SHOW}
echo "{MARK} uname"; uname -s; uname -m; uname -r
show /proc/cpuinfo; show /proc/meminfo; show /proc/device-tree/model
show /sys/devices/system/cpu/present
for file in /proc/driver/nvidia/gpus/*/information \
  /sys/devices/system/cpu/cpu[0-9]*/of_node/compatible \
  /sys/devices/system/cpu/cpu[0-9]*/topology/core_id \
  /sys/devices/system/cpu/cpu[0-9]*/topology/physical_package_id \
  /sys/devices/system/cpu/cpu[0-9]*/cache/index*/level \
  /sys/devices/system/cpu/cpu[0-9]*/cache/index*/type \
  /sys/devices/system/cpu/cpu[0-9]*/cache/index*/size \
  /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor \
  /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_min_freq \
  /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq; do show "$file"; done
if [ "$(uname -s)" = Darwin ]; then echo "{MARK} sysctl"; sysctl hw machdep.cpu 2>/dev/null; fi
exit 0
"""
"""One command for one round trip; it needs a POSIX shell and cat on the device."""

_SIMD = (
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
    "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16", "neon", "asimd", "asimdhp", "asimddp",
    "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
"""Instruction sets by which the engines choose their kernels; a hypervisor may hide some."""
_ARM = ("aarch64", "armv")
"""How Linux calls the processors of boards and phones, which switch cores off to save power."""
_CPU_FOLDER = "/sys/devices/system/cpu"
_RANGE = re.compile(r"(?<![0-9])([0-9]{1,4})(?:-([0-9]{1,4}))?(?![0-9])")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A device's hardware and system; None and empty where the device does not tell.

    `cpu` names each kind of core once (there are two on big.LITTLE chips), of those that are
    online. On ARM `n_logical` counts the CPUs that are offline as well, and `core_kinds` are all
    their kinds by the device tree, if it may be read. `board` is the device tree's name of the
    whole, `gpus` are the models of NVIDIA's GPUs by their driver.
    """

    arch: str
    cpu_vendor: str
    cpu_name: str
    cpu: tuple[str, ...]
    simd: tuple[str, ...]
    n_logical: int
    n_physical: int | None
    l1d_kib: int | None
    l1i_kib: int | None
    l2_kib: int | None
    l3_kib: int | None
    memory_kib: int | None
    governors: tuple[str, ...]
    min_khz: int | None
    max_khz: int | None
    system: str
    kernel: str
    hypervisor: bool
    python: str | None
    board: str = ""
    gpus: tuple[str, ...] = ()
    core_kinds: tuple[str, ...] = ()

    @property
    def match_key(self) -> str:
        """Sixteen hex digits over the hardware alone: no kernel, governor, Python or memory.

        Nor, on ARM, over what changes with the cores that are online, as far as the device tree
        tells more.
        """
        facts = asdict(self)
        caches = ["l1d_kib", "l1i_kib", "l2_kib", "l3_kib"]
        names = ["arch", "cpu_vendor", "cpu_name", "cpu", "simd", "n_logical", "n_physical"]
        if self.arch.startswith(_ARM):
            names.remove("n_physical")
            if self.core_kinds:
                names[names.index("cpu")] = "core_kinds"
            if len(self.core_kinds) > 1:  # the larger caches may be those of the kind that is off
                caches = []
        text = json.dumps({name: facts[name] for name in names + caches}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def slug(self) -> str:
        """A folder name such as ``amd-epyc-2c-1a2b3c4d``."""
        name = re.sub(r"\((?:R|TM|C)\)|@.*|\b(?:CPU|Processor|\d+-Core)\b", " ", self.cpu_name)
        words = re.findall(r"[a-z0-9]+", name.lower()) or [self.arch.lower()]
        return "-".join([*words[:6], f"{self.n_logical}c", self.match_key[:8]])


def take_fingerprint(connector: Connector, python: str) -> Fingerprint:
    """Return the fingerprint of the device behind `connector`.

    Raises:
        DeviceError: the device has no POSIX shell or tells nothing of its processor.
    """
    done = connector.run(["sh", "-c", _READ_ALL], timeout_s=_TIMEOUT_S)
    if done.status != 0:
        reason = done.stderr.decode(errors="replace").strip()
        raise DeviceError(f"cannot read what hardware {connector.address} is: {reason}")
    found = _python_version(connector, python)
    return parse_facts(done.stdout.decode(errors="replace"), found)


def parse_facts(text: str, python: str | None) -> Fingerprint:
    """Return the fingerprint in what the reading command printed.

    Raises:
        DeviceError: the text does not name a processor architecture.
    """
    files = sections(text)
    system, arch, kernel, *_ = [*files.get("uname", "").split("\n"), "", "", ""]
    if not arch:
        raise DeviceError("the device does not tell its processor architecture (uname -m)")
    if system == "Darwin":
        return _darwin(arch, kernel, files.get("sysctl", ""), python)
    cores = _processors(files.get("/proc/cpuinfo", ""))
    first = cores[0] if cores else {}
    flags = set((first.get("flags") or first.get("Features") or "").split())
    vendor = first.get("vendor_id") or first.get("CPU implementer", "")
    board = files.get("/proc/device-tree/model", "").strip("\0\n ")
    name = first.get("model name") or board
    caches = _caches(files)
    present = cpus_of(files.get(f"{_CPU_FOLDER}/present", "")) if arch.startswith(_ARM) else []
    memory = re.search(r"MemTotal:\s+([0-9]{1,18})", files.get("/proc/meminfo", ""))
    return Fingerprint(
        arch=arch,
        cpu_vendor=vendor,
        cpu_name=name or vendor or arch,
        cpu=_identities(cores),
        simd=tuple(one for one in _SIMD if one in flags),
        n_logical=len(present) or len(cores) or 1,
        n_physical=_n_physical(files),
        l1d_kib=caches.get("1 Data"),
        l1i_kib=caches.get("1 Instruction"),
        l2_kib=caches.get("2 Unified"),
        l3_kib=caches.get("3 Unified"),
        memory_kib=int(memory[1]) if memory else None,
        governors=_values(files, "/cpufreq/scaling_governor"),
        min_khz=min(_numbers(files, "/cpufreq/cpuinfo_min_freq"), default=None),
        max_khz=max(_numbers(files, "/cpufreq/cpuinfo_max_freq"), default=None),
        system=system,
        kernel=kernel,
        hypervisor="hypervisor" in flags,
        python=python,
        board=board,
        gpus=_gpus(files),
        core_kinds=_core_kinds(files, present),
    )


def whole_number(text: str) -> int | None:
    """Return a number as the kernel writes it, None for anything else."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def cpus_of(text: str) -> list[int]:
    """Return the CPUs in a list as the kernel writes it, such as ``0-3,7``."""
    found: list[int] = []
    for first, last in _RANGE.findall(text):
        found += range(int(first), int(last or first) + 1)
    return found


def sections(text: str) -> dict[str, str]:
    """Return what was read by the path that it was read from."""
    parts = re.split(rf"^{re.escape(MARK)} (.+)\n", text, flags=re.MULTILINE)
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _processors(text: str) -> list[dict[str, str]]:
    """Return the entries of /proc/cpuinfo that describe a logical processor."""
    blocks = [dict(re.findall(r"^(.+?)[ \t]*:[ \t]*(.*)$", block, re.MULTILINE))
              for block in re.split(r"\n\s*\n", text)]  # fmt: skip
    return [block for block in blocks if "processor" in block]


def _identities(cores: list[dict[str, str]]) -> tuple[str, ...]:
    names = (
        "cpu family", "model", "stepping",
        "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision",
    )  # fmt: skip
    texts = {" ".join(f"{name}={core[name]}" for name in names if name in core) for core in cores}
    return tuple(sorted(texts - {""}))


def _core_kinds(files: dict[str, str], present: list[int]) -> tuple[str, ...]:
    """Return the kinds of core that the device tree names, if it names that of every CPU."""
    texts = [files.get(f"{_CPU_FOLDER}/cpu{cpu}/of_node/compatible", "") for cpu in present]
    kinds = {text.partition("\0")[0].strip() for text in texts}  # the most specific name is first
    return () if "" in kinds else tuple(sorted(kinds))


def _gpus(files: dict[str, str]) -> tuple[str, ...]:
    """Return the model of each GPU that NVIDIA's driver runs."""
    found = (
        re.search(r"^Model:[ \t]*(\S.*)$", text, re.MULTILINE)
        for path, text in files.items()
        if path.startswith("/proc/driver/nvidia/gpus/")
    )
    return tuple(sorted(match[1].strip() for match in found if match))


def _caches(files: dict[str, str]) -> dict[str, int]:
    """Return the size in KiB of the largest cache of each level and type."""
    sizes: dict[str, int] = {}
    for path, text in files.items():
        match = re.fullmatch(r"([0-9]{1,9})([KMG])", text) if path.endswith("/size") else None
        if match and "/cache/index" in path:
            folder = path.removesuffix("/size")
            what = f"{files.get(folder + '/level')} {files.get(folder + '/type')}"
            kib = int(match[1]) * {"K": 1, "M": 1024, "G": 1024**2}[match[2]]
            sizes[what] = max(kib, sizes.get(what, 0))
    return sizes


def _n_physical(files: dict[str, str]) -> int | None:
    cores = {
        (files.get(path.removesuffix("core_id") + "physical_package_id"), text)
        for path, text in files.items()
        if path.endswith("/topology/core_id")
    }
    return len(cores) or None


def _values(files: dict[str, str], ending: str) -> tuple[str, ...]:
    return tuple(sorted({text for path, text in files.items() if path.endswith(ending)}))


def _numbers(files: dict[str, str], ending: str) -> list[int]:
    found = (whole_number(text) for text in _values(files, ending))
    return [number for number in found if number is not None]


def _darwin(arch: str, kernel: str, text: str, python: str | None) -> Fingerprint:
    """Return what macOS tells through sysctl."""
    facts: dict[str, str] = dict(re.findall(r"^([\w.]+): (.*)$", text, re.MULTILINE))

    def number(name: str, divisor: int = 1) -> int | None:
        found = whole_number(facts.get(name, ""))
        return None if found is None else found // divisor

    names = [name for name in ("family", "model", "stepping") if f"machdep.cpu.{name}" in facts]
    identity = " ".join(f"{name}={facts[f'machdep.cpu.{name}']}" for name in names)
    features = facts.get("machdep.cpu.features", "").lower().replace("avx1.0", "avx").split()
    return Fingerprint(
        arch=arch,
        cpu_vendor=facts.get("machdep.cpu.vendor", "Apple"),
        cpu_name=facts.get("machdep.cpu.brand_string", arch),
        cpu=(identity,) if identity else (),
        simd=tuple(one for one in _SIMD if one in features),
        n_logical=number("hw.logicalcpu") or 1,
        n_physical=number("hw.physicalcpu"),
        l1d_kib=number("hw.l1dcachesize", 1024),
        l1i_kib=number("hw.l1icachesize", 1024),
        l2_kib=number("hw.l2cachesize", 1024),
        l3_kib=number("hw.l3cachesize", 1024),
        memory_kib=number("hw.memsize", 1024),
        governors=(),
        min_khz=None,
        max_khz=number("hw.cpufrequency_max", 1000),
        system="Darwin",
        kernel=kernel,
        hypervisor="vmm" in features,
        python=python,
    )


def _python_version(connector: Connector, python: str) -> str | None:
    try:
        done = connector.run([python, "-V"], timeout_s=_TIMEOUT_S)
    except DeviceError:
        return None
    match = re.search(rb"Python (\S+)", done.stdout + done.stderr)
    return match[1].decode() if match else None
