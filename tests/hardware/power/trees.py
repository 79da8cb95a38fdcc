"""Trees of the files that kernels show of power meters, written into a folder of the test's."""

from pathlib import Path


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def jetpack_4(sysfs: Path, *, mode: str = "", config: int | None = None) -> Path:
    """A Jetson Nano's: one chip, three rails, power told.

    `mode` is the driver's (0: it converts when it is read), `config` its setting of the chip.
    """
    folder = sysfs / "bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    if mode:
        write(folder, running_mode=mode)
    if config is not None:
        tree = folder.parent / "of_node"
        tree.mkdir(parents=True)
        name = "ti,trigger-config" if mode == "0" else "ti,continuous-config"
        (tree / name).write_bytes(config.to_bytes(4, "big"))
    for i, (rail, power_mw) in enumerate(
        [("POM_5V_IN", 2545), ("POM_5V_GPU", 120), ("POM_5V_CPU", 549)]
    ):
        write(
            folder,
            **{
                f"rail_name_{i}": rail,
                f"in_power{i}_input": power_mw,
                f"in_current{i}_input": power_mw // 5,
                f"in_voltage{i}_input": 5000,
            },
        )
    return folder


def jetpack_6(sysfs: Path, *, samples: int = 1, update_interval: int = 7) -> Path:
    """A Jetson Orin Nano's: one chip, three rails and a sum, current and voltage told."""
    folder = sysfs / "bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    write(folder, name="ina3221", samples=samples, update_interval=update_interval)
    for i, (rail, current_ma) in enumerate(
        [("VDD_IN", 1000), ("VDD_CPU_GPU_CV", 200), ("VDD_SOC", 300)], start=1
    ):
        write(
            folder,
            **{
                f"in{i}_label": rail,
                f"curr{i}_input": current_ma,
                f"in{i}_input": 5000,
                f"in{i + 3}_input": 12,
            },
        )
    write(folder, in7_label="sum of shunt voltages", in7_input=36)
    return folder


def powercap(sysfs: Path, *, packages: int = 1) -> list[Path]:
    """An x86 host's: counters of packages, and of the cores in the first."""
    zones = []
    for i in range(packages):
        zone = sysfs / f"class/powercap/intel-rapl:{i}"
        write(zone, name=f"package-{i}", energy_uj=1000, max_energy_range_uj=262_143_328_850)
        zones.append(zone)
    core = sysfs / "class/powercap/intel-rapl:0:0"
    write(core, name="core", energy_uj=500, max_energy_range_uj=262_143_328_850)
    return zones


def battery(
    sysfs: Path,
    *,
    status: str = "Discharging",
    current: int = -412_000,
    voltage: int = 4_100_000,
) -> Path:
    """A phone's."""
    folder = sysfs / "class/power_supply/battery"
    write(folder, status=status, current_now=current, voltage_now=voltage, capacity=80)
    write(sysfs / "class/power_supply/usb", online=0)
    return folder
