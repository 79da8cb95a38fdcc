"""What a phone like Google's Pixel 8 tells of itself: properties, processor, sensors, battery."""

from __future__ import annotations

import stat
import uuid
from collections.abc import Mapping
from pathlib import Path

PROPERTIES: Mapping[str, str] = {
    "ro.product.model": "Pixel 8",
    "ro.product.brand": "google",
    "ro.product.device": "shiba",
    "ro.product.name": "shiba",
    "ro.product.manufacturer": "Google",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "Tensor G3",
    "ro.hardware": "shiba",
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.build.id": "UD1A.231105.004",
    "sys.boot_completed": "1",
}

_CORES = (
    *(("0xd46", "1", 324000, 1704000, 250),) * 4,
    *(("0xd4d", "0", 402000, 2367000, 750),) * 4,
    ("0xd4e", "0", 500000, 2914000, 1024),
)
"""Part, revision, least and greatest kHz, capacity: four small, four middle, one large."""

_FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma "
    "lrcpc dcpop sha3 sm3 sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg "
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svebf16 i8mm bf16"
)
_ZONES = {"BIG": 41000, "MID": 39500, "LITTLE": 38200, "G3D": 37000, "battery": 29100}
_GO_TO_SLEEP = """
most_ms=$(settings get system screen_off_timeout)
if [ "$most_ms" = null ]; then most_ms=30000; fi
if [ -e /data/keyguard ] && [ "$most_ms" -gt 10000 ]; then most_ms=10000; fi
if [ "$(cat /sys/class/power_supply/battery/status)" != Discharging ] &&
  [ "$(settings get global stay_on_while_plugged_in)" -gt 0 ]; then most_ms=2147483647; fi
age_s=$(($(date +%s) - $(stat -c %Y /data/wakefulness)))
if [ "$(cat /data/wakefulness)" = Awake ] && [ $((age_s * 1000)) -gt "$most_ms" ]; then
  input keyevent KEYCODE_SLEEP
fi
"""
"""A screen that nobody has touched for so long goes dark, unless the phone is plugged in and set to
stay on then; on the lock screen after ten seconds. It is done when somebody looks."""
_TOOLS = {
    "getprop": 'if [ -z "$1" ]; then cat /system/getprop.all; '
    'else cat "/system/props/$1" 2>/dev/null || echo; fi',
    "uname": 'case "$1" in -m) echo aarch64;; -s) echo Linux;; '
    "-r) echo 5.15.110-android14-11-g0123456789ab;; "
    "*) echo Linux localhost 5.15.110-android14-11-g0123456789ab aarch64 Toybox;; esac",
    "dumpsys": 'case "$1" in battery) cat /system/dumpsys.battery;; '
    f'power) {_GO_TO_SLEEP} echo "  mWakefulness=$(cat /data/wakefulness)";; '
    '*) echo "Can\'t find service: $1"; exit 1;; esac',
    "settings": 'f="/data/settings/$2.$3"; case "$1" in get) cat "$f" 2>/dev/null || echo null;; '
    'put) echo "$4" >"$f";; delete) rm -f "$f"; echo "Deleted 1 rows";; *) exit 255;; esac',
    "input": 'case "$2" in KEYCODE_WAKEUP) echo Awake >/data/wakefulness;; '
    "KEYCODE_SLEEP) echo Asleep >/data/wakefulness; touch /data/keyguard;; *) exit 255;; esac",
    "wm": 'case "$1" in dismiss-keyguard) rm -f /data/keyguard;; *) exit 255;; esac',
    "cmd": 'echo "$*" >>/data/cmd.log; case "$1 $2 $3" in '
    '"connectivity airplane-mode enable") settings put global airplane_mode_on 1;; '
    '"connectivity airplane-mode disable") settings put global airplane_mode_on 0;; '
    '"power set-fixed-performance-mode-enabled "*) ;; '
    '*) echo "cmd: Can\'t find service: $1" >&2; exit 20;; esac',
}
SETTINGS: Mapping[str, str] = {
    "global.stay_on_while_plugged_in": "0",
    "global.airplane_mode_on": "0",
    "system.screen_off_timeout": "30000",
    "system.screen_brightness_mode": "1",
    "system.screen_brightness": "128",
}
"""What the phone is set to at first; in files below /data/settings."""

_BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Wireless powered: false
  status: 3
  health: 2
  present: true
  level: 83
  scale: 100
  voltage: 4012
  temperature: 291
  technology: Li-ion
"""


def write_phone(folder: Path) -> None:
    """Write below `folder` what `sandbox.enter` shows as /sys, /system, /data and /proc."""
    for name in ("root", "data/local/tmp", "sys", "system/bin", "system/props", "proc"):
        (folder / name).mkdir(parents=True)
    _write(folder / "proc/cpuinfo", _cpuinfo())
    _write(folder / "proc/meminfo", "MemTotal:        7739120 kB\nMemAvailable:    4011816 kB\n")
    for number, (_, _, least, greatest, capacity) in enumerate(_CORES):
        cpu = folder / f"sys/devices/system/cpu/cpu{number}"
        _write(cpu / "cpu_capacity", f"{capacity}\n")
        _write(cpu / "topology/core_id", f"{number}\n")
        _write(cpu / "topology/physical_package_id", "0\n")
        for name, value in (
            ("scaling_governor", "sched_pixel"),
            ("cpuinfo_min_freq", least),
            ("cpuinfo_max_freq", greatest),
            ("scaling_min_freq", least),
            ("scaling_max_freq", greatest),
            ("scaling_cur_freq", greatest),
        ):
            _write(cpu / "cpufreq" / name, f"{value}\n")
    for name in ("possible", "present", "online"):
        _write(folder / f"sys/devices/system/cpu/{name}", f"0-{len(_CORES) - 1}\n")
    for number, (name, millidegrees) in enumerate(_ZONES.items()):
        zone = folder / f"sys/class/thermal/thermal_zone{number}"
        _write(zone / "type", f"{name}\n")
        _write(zone / "temp", f"{millidegrees}\n")
    gauge = folder / "sys/class/power_supply/battery"
    for name, text in (
        ("status", "Discharging"), ("current_now", "-412000"), ("voltage_now", "4012000"),
        ("capacity", "83"), ("temp", "291"),
    ):  # fmt: skip
        _write(gauge / name, f"{text}\n")
    for name, text in SETTINGS.items():
        _write(folder / "data/settings" / name, f"{text}\n")
    _write_system(folder / "system")


def start_system(folder: Path) -> None:
    """Change what every start of the phone changes: the name of the start, a dark locked screen."""
    _write(folder / "proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
    _write(folder / "data/wakefulness", "Asleep\n")
    _write(folder / "data/keyguard", "")


def banner(features: str) -> str:
    """Return how the phone introduces itself to adb."""
    names = ("ro.product.name", "ro.product.model", "ro.product.device")
    properties = "".join(f"{name}={PROPERTIES[name]};" for name in names)
    return f"device::{properties}features={features}"


def _write_system(system: Path) -> None:
    for name, text in PROPERTIES.items():
        _write(system / "props" / name, f"{text}\n")
    lines = (f"[{name}]: [{text}]\n" for name, text in PROPERTIES.items())
    _write(system / "getprop.all", "".join(lines))
    _write(system / "dumpsys.battery", _BATTERY)
    for name, script in _TOOLS.items():
        path = system / "bin" / name
        _write(path, f"#!/system/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _cpuinfo() -> str:
    blocks = (
        f"processor\t: {number}\nBogoMIPS\t: 49.15\nFeatures\t: {_FEATURES}\n"
        f"CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: {part}\n"
        f"CPU revision\t: {revision}\n\n"
        for number, (part, revision, *_) in enumerate(_CORES)
    )
    return "".join(blocks)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
