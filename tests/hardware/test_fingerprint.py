"""Fingerprints: of this machine, and of others from what they print."""

import dataclasses
from collections.abc import Sequence

import pytest

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.base import Completed
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.fingerprint import Fingerprint, parse_facts, take_fingerprint

CPU0 = "/sys/devices/system/cpu/cpu0"
CPU1 = "/sys/devices/system/cpu/cpu1"
X86 = f"""#=# uname
Linux
x86_64
6.1.0
#=# /proc/cpuinfo
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106
model name\t: Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz
stepping\t: 6
flags\t\t: fpu sse4_2 avx avx2 fma avx512f hypervisor
power management:

processor\t: 1
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106
model name\t: Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz
stepping\t: 6
flags\t\t: fpu sse4_2 avx avx2 fma avx512f hypervisor
power management:


#=# /proc/meminfo
MemTotal:        8000000 kB
#=# {CPU0}/topology/core_id
0
#=# {CPU1}/topology/core_id
0
#=# {CPU0}/topology/physical_package_id
0
#=# {CPU1}/topology/physical_package_id
0
#=# {CPU0}/cache/index0/level
1
#=# {CPU0}/cache/index0/type
Data
#=# {CPU0}/cache/index0/size
48K
#=# {CPU0}/cache/index3/level
3
#=# {CPU0}/cache/index3/type
Unified
#=# {CPU0}/cache/index3/size
48M
#=# {CPU0}/cpufreq/scaling_governor
powersave
#=# {CPU0}/cpufreq/cpuinfo_min_freq
800000
#=# {CPU0}/cpufreq/cpuinfo_max_freq
3500000
"""
ARM = """#=# uname
Linux
aarch64
5.15.84-v8+
#=# /proc/cpuinfo
processor\t: 0
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

processor\t: 1
Features\t: fp asimd asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: 0xd05
CPU revision\t: 0

Model\t\t: Some Board
#=# /proc/device-tree/model
Some Board Rev 1.0\0
"""
MAC = """#=# uname
Darwin
arm64
23.0.0
#=# sysctl
hw.logicalcpu: 8
hw.physicalcpu: 8
hw.l1dcachesize: 65536
hw.memsize: 17179869184
machdep.cpu.brand_string: Apple M2
"""


GPU = """Model: \t\t NVIDIA {model}
IRQ:   \t\t 62
GPU UUID: \t GPU-0c6ff0d1-0000-0000-0000-000000000000
Video BIOS: \t 96.00.89.00.01
Bus Type: \t PCIe
"""


def board(online: int, *kinds: str, model: str = "Some Board", tree: bool = True) -> str:
    """What an ARM board prints whose cores are of these kinds, the first `online` of them on."""
    identity = {"denver": ("0x4e", "0x003", 64), "a57": ("0x41", "0xd07", 32)}
    cores, files = [], []
    for cpu, kind in enumerate(kinds):
        implementer, part, l1d_kib = identity.get(kind, ("0x41", "0xd42", 64))
        folder = f"/sys/devices/system/cpu/cpu{cpu}"
        if tree:
            files.append(f"#=# {folder}/of_node/compatible\nvendor,{kind}\0arm,armv8\0\n")
        if cpu >= online:
            continue
        cores.append(
            f"processor\t: {cpu}\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n"
            f"Features\t: fp asimd\nCPU implementer\t: {implementer}\nCPU part\t: {part}\n"
        )
        files.append(f"#=# {folder}/topology/core_id\n{cpu}\n")
        files.append(f"#=# {folder}/cache/index0/level\n1\n")
        files.append(f"#=# {folder}/cache/index0/type\nData\n")
        files.append(f"#=# {folder}/cache/index0/size\n{l1d_kib}K\n")
    return (
        "#=# uname\nLinux\naarch64\n5.15.148-tegra\n#=# /proc/cpuinfo\n"
        + "\n".join(cores)
        + f"#=# /proc/device-tree/model\n{model}\0\n"
        + f"#=# /sys/devices/system/cpu/present\n0-{len(kinds) - 1}\n"
        + "".join(files)
    )


def test_of_this_machine() -> None:
    connector = LocalConnector()
    found = take_fingerprint(connector, connector.python)
    assert found.n_logical >= 1
    assert found.python is not None
    assert found.kernel
    again = take_fingerprint(connector, connector.python)
    assert (again.match_key, again.slug) == (found.match_key, found.slug)


def test_of_an_intel_server() -> None:
    found = parse_facts(X86, "3.11.7")
    assert (found.n_logical, found.n_physical) == (2, 1)
    assert (found.l1d_kib, found.l2_kib, found.l3_kib) == (48, None, 49152)
    assert found.cpu == ("cpu family=6 model=106 stepping=6",)
    assert found.simd == ("sse4_2", "avx", "avx2", "fma", "avx512f")
    assert found.governors == ("powersave",)
    assert (found.min_khz, found.max_khz) == (800_000, 3_500_000)
    assert found.hypervisor
    assert found.memory_kib == 8_000_000
    assert found.slug == f"intel-xeon-platinum-8370c-2c-{found.match_key[:8]}"


def test_of_two_kinds_of_arm_cores() -> None:
    found = parse_facts(ARM, None)
    assert found.n_logical == 2
    assert len(found.cpu) == 2
    assert found.cpu_name == "Some Board Rev 1.0"
    assert found.simd == ("asimd", "asimddp")
    assert found.slug.startswith("some-board-rev-1-0-2c-")
    assert (found.board, found.core_kinds) == ("Some Board Rev 1.0", ())


def test_cores_that_are_switched_off_are_the_boards_all_the_same() -> None:
    """In its power mode of 7 W an Orin Nano has four of its six cores online."""
    orin = ["a78ae"] * 6
    part, whole = (parse_facts(board(n, *orin), None) for n in (4, 6))
    assert (part.n_physical, whole.n_physical) == (4, 6)
    assert (part.n_logical, part.core_kinds) == (6, ("vendor,a78ae",))
    assert part.board == "Some Board"
    assert (part.match_key, part.slug) == (whole.match_key, whole.slug)
    assert part.slug.startswith("armv8-rev-1-v8l-6c-")
    assert part.match_key != parse_facts(board(4, *["a78ae"] * 8), None).match_key
    assert part.match_key != parse_facts(board(4, *["a76"] * 6), None).match_key


def test_a_whole_kind_of_cores_that_is_switched_off_is_in_the_device_tree() -> None:
    """As the Denver cores of a Jetson TX2 are in its mode Max-Q."""
    tx2 = ["a57"] * 4 + ["denver"] * 2
    part, whole = (parse_facts(board(n, *tx2), None) for n in (4, 6))
    assert (len(part.cpu), len(whole.cpu)) == (1, 2)
    assert (part.l1d_kib, whole.l1d_kib) == (32, 64)
    assert part.core_kinds == ("vendor,a57", "vendor,denver")
    assert part.match_key == whole.match_key
    hidden = [parse_facts(board(n, *tx2, tree=False), None) for n in (4, 6)]
    assert [one.n_logical for one in hidden] == [6, 6]
    assert hidden[0].match_key != hidden[1].match_key  # nothing tells of the kind that is off


def test_gpus_are_named_one_by_one() -> None:
    folder = "#=# /proc/driver/nvidia/gpus/0000:"
    text = f"{folder}81:00.0/information\n{GPU.format(model='RTX 4090')}"
    text += f"{folder}01:00.0/information\n{GPU.format(model='H100 80GB HBM3')}"
    text += f"{folder}02:00.0/information\nnothing of a model\n"
    found = parse_facts(X86 + text, None)
    assert found.gpus == ("NVIDIA H100 80GB HBM3", "NVIDIA RTX 4090")
    assert found.match_key == parse_facts(X86, None).match_key


@pytest.mark.parametrize(
    ("text", "key"), [(X86, "0a2eedb4d9294db4"), (MAC, "87bd55c1f44158d8")], ids=["x86", "mac"]
)
def test_the_keys_that_tables_carry_stay(text: str, key: str) -> None:
    assert parse_facts(text, None).match_key == key
    text += "#=# /sys/devices/system/cpu/present\n0-7\n"  # some of them switched off
    assert parse_facts(text, None).match_key == key


def test_of_a_mac() -> None:
    found = parse_facts(MAC, None)
    assert (found.cpu_name, found.n_physical, found.l1d_kib) == ("Apple M2", 8, 64)
    assert found.memory_kib == 16 << 20
    assert found.slug.startswith("apple-m2-8c-")


@pytest.mark.parametrize(
    ("field", "value", "same"),
    [
        ("kernel", "9.9", True),
        ("governors", ("performance",), True),
        ("python", "3.13.0", True),
        ("memory_kib", 1, True),
        ("hypervisor", False, True),
        ("board", "other", True),
        ("gpus", ("other",), True),
        ("core_kinds", ("other", "more"), True),
        ("n_physical", 7, False),
        ("n_logical", 4, False),
        ("l3_kib", 1, False),
        ("cpu_name", "other", False),
        ("cpu", ("other",), False),
        ("simd", (), False),
        ("arch", "riscv64", False),
    ],
)
def test_only_hardware_is_in_the_match_key(field: str, value: object, same: bool) -> None:
    found = parse_facts(X86, None)
    other: Fingerprint = dataclasses.replace(found, **{field: value})
    assert (other.match_key == found.match_key) is same


def test_a_device_that_tells_nothing_is_refused() -> None:
    with pytest.raises(DeviceError, match="processor architecture"):
        parse_facts("", None)


class Broken(LocalConnector):
    """A device whose shell does not work."""

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        return Completed(127, b"", b"sh: not today")


def test_a_failing_command_is_reported() -> None:
    with pytest.raises(DeviceError, match="sh: not today"):
        take_fingerprint(Broken(), "python3")


def test_a_missing_python_is_no_failure() -> None:
    assert take_fingerprint(LocalConnector(), "/no/such/python").python is None
