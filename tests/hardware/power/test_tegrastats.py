"""Lines of tegrastats, written after the formats of JetPack 3 to 6, and broken ones."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenas.core.errors import DeviceError
from edgenas.hardware.connectors.local import LocalConnector
from edgenas.hardware.power import Reading, find_meter
from edgenas.hardware.power.settings import TegrastatsSettings
from edgenas.hardware.power.tegrastats import parse_line

TX2 = (
    "RAM 1903/7860MB (lfb 1201x4MB) CPU [0%@2035,off,off,1%@2035,3%@2035,0%@2035] "
    "EMC_FREQ 1%@1866 GR3D_FREQ 0%@1300 APE 150 BCPU@38.5C MCPU@38.5C GPU@36C PLL@38.5C "
    "Tboard@33C Tdiode@34.25C PMIC@100C thermal@37.4C VDD_IN 3361/3361 VDD_CPU 534/534 "
    "VDD_GPU 152/152 VDD_SOC 609/609 VDD_WIFI 0/0 VDD_DDR 882/882"
)
NANO = (
    "RAM 1466/3964MB (lfb 211x4MB) SWAP 12/1982MB (cached 0MB) IRAM 0/252kB(lfb 252kB) "
    "CPU [11%@1479,8%@1479,5%@1479,9%@1479] EMC_FREQ 0% GR3D_FREQ 0% PLL@31C CPU@34.5C "
    "PMIC@100C GPU@32C AO@40C thermal@33.25C POM_5V_IN 2214/2261 POM_5V_GPU 40/44 "
    "POM_5V_CPU 442/470"
)
XAVIER = (
    "RAM 2190/15824MB (lfb 2921x4MB) SWAP 0/7912MB (cached 0MB) "
    "CPU [3%@1190,1%@1190,0%@1190,0%@1190,off,off,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 0%@318 "
    "APE 150 MTS fg 0% bg 0% AO@33C GPU@34C Tdiode@36.75C PMIC@50C AUX@33C CPU@34C "
    "thermal@33.4C Tboard@34C GPU 0mW/0mW CPU 465mW/465mW SOC 1242mW/1242mW CV 0mW/0mW "
    "VDDRQ 155mW/155mW SYS5V 1873mW/1873mW"
)
ORIN_5 = (
    "11-03-2022 09:12:44 RAM 3412/30536MB (lfb 6051x4MB) SWAP 0/15268MB (cached 0MB) "
    "CPU [1%@1190,0%@1190,0%@1190,0%@1190,0%@729,0%@729,0%@729,0%@729] EMC_FREQ 0%@2133 "
    "GR3D_FREQ 0%@0 VIC_FREQ 729 APE 174 CV0@-256C CPU@44.062C Tboard@33C SOC2@41.156C "
    "Tdiode@34C SOC0@41.031C CV1@-256C GPU@-256C tj@44.062C SOC1@40.125C CV2@-256C "
    "VDD_GPU_SOC 2394mW/2394mW VDD_CPU_CV 798mW/798mW VIN_SYS_5V0 3028mW/3028mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 604mW/604mW"
)
ORIN_6 = (
    "05-17-2024 16:40:01 RAM 1986/7620MB (lfb 4x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [0%@729,0%@729,1%@729,0%@729,off,off] EMC_FREQ 0%@2133 GR3D_FREQ 0%@[305] NVDEC off "
    "NVJPG off NVJPG1 off VIC off OFA off APE 200 cpu@47.468C soc2@46.687C soc0@46.281C "
    "gpu@47.031C tj@47.468C soc1@47.187C VDD_IN 4820mW/4810mW VDD_CPU_GPU_CV 560mW/570mW "
    "VDD_SOC 1480mW/1470mW"
)


@pytest.mark.parametrize(
    ("line", "rail", "power_mw", "zone", "celsius", "memory_mib"),
    [
        (TX2, "VDD_IN", 3361, "GPU", 36.0, 1903),
        (NANO, "POM_5V_IN", 2214, "thermal", 33.25, 1466),
        (XAVIER, "SOC", 1242, "Tdiode", 36.75, 2190),
        (ORIN_5, "VDD_GPU_SOC", 2394, "CPU", 44.062, 3412),
        (ORIN_6, "VDD_IN", 4820, "tj", 47.468, 1986),
    ],
)
def test_every_generation_is_read(
    line: str, rail: str, power_mw: float, zone: str, celsius: float, memory_mib: int
) -> None:
    stats = parse_line(line)
    assert stats.power_mw[rail] == power_mw
    assert stats.temperature_c[zone] == celsius
    assert stats.memory_mib == memory_mib
    assert "RAM" not in stats.power_mw
    assert "SWAP" not in stats.power_mw


def test_parts_that_are_off_have_no_temperature() -> None:
    assert set(parse_line(ORIN_5).temperature_c) == {
        "CPU", "Tboard", "SOC2", "Tdiode", "SOC0", "tj", "SOC1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["", "tegrastats: command not found", ORIN_6[40:], NANO.replace("MB (lfb 2", " (lfb 2")]
)
def test_another_line_is_an_error(line: str) -> None:
    with pytest.raises(DeviceError, match="no line of tegrastats"):
        parse_line(line)


def test_a_line_with_two_units_is_an_error() -> None:
    with pytest.raises(DeviceError, match="VDD_IN has two units"):
        parse_line(ORIN_6.replace("4820mW/4810mW", "4820mW/4810"))


LINES = st.sampled_from([TX2, NANO, XAVIER, ORIN_5, ORIN_6])
ODD = st.sampled_from(["", "-1", "²", "1e999", "9" * 5000, "nan", "off", "0x10", "1,5"])


@given(LINES, st.integers(0, 600), st.integers(0, 600))
def test_of_a_line_that_was_cut_only_whole_powers_are_believed(
    line: str, start: int, end: int
) -> None:
    """Output can begin and end anywhere: the line lost its head, its tail or both."""
    whole = parse_line(line)
    try:
        found = parse_line(line[start:][:end])
    except DeviceError:
        return
    assert found.power_mw.items() <= whole.power_mw.items()
    assert (found.memory_mib, found.memory_total_mib) == (whole.memory_mib, whole.memory_total_mib)


@given(LINES, st.data(), ODD)
def test_an_odd_number_is_left_out_or_refused(line: str, data: st.DataObject, odd: str) -> None:
    places = [found.span() for found in re.finditer(r"[0-9]+(?:\.[0-9]+)?", line)]
    start, end = data.draw(st.sampled_from(places))
    try:
        found = parse_line(line[:start] + odd + line[end:])
    except DeviceError:
        return
    assert all(0 <= power < 1e9 for power in found.power_mw.values())
    assert all(-256 < celsius < 1e4 for celsius in found.temperature_c.values())


@given(st.text(max_size=200))
def test_no_text_does_more_than_fail(text: str) -> None:
    try:
        stats = parse_line(text)
    except DeviceError:
        return
    assert stats.memory_mib >= 0


def test_a_meter_of_two_rails(tmp_path: Path) -> None:
    program = tmp_path / "tegrastats"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    settings = TegrastatsSettings(
        meter="tegrastats", rails=("VDD_CPU_GPU_CV", "VDD_SOC"), program=str(program)
    )
    with LocalConnector() as connector:
        meter = find_meter(connector, settings)
    assert meter.source.argv == (str(program), "--interval", "100")
    assert meter.refresh_s == 0.1
    later = ORIN_6.replace("VDD_SOC 1480mW", "VDD_SOC 3480mW")
    trace = meter.trace([Reading(0.0, (ORIN_6,)), Reading(1.0, (later,))])
    assert trace.energy_mj[-1] == pytest.approx((2040 + 4040) / 2)
    with pytest.raises(DeviceError, match="could not be read"):  # the program has ended
        meter.trace([Reading(0.0, (ORIN_6,)), Reading(1.0, (None,))])


def test_a_rail_or_a_program_that_is_not_there() -> None:
    settings = TegrastatsSettings(meter="tegrastats", rails=("VDD_5V",), program="/no/tegrastats")
    with (
        LocalConnector() as connector,
        pytest.raises(DeviceError, match=r"no program '/no/tegrastats'.*power.program"),
    ):
        find_meter(connector, settings)
    program = TegrastatsSettings(meter="tegrastats", rails=("VDD_5V",), program="sh")
    with LocalConnector() as connector:
        meter = find_meter(connector, program)
    with pytest.raises(DeviceError, match=r"no rail 'VDD_5V'; allowed: .*VDD_IN"):
        meter.trace([Reading(0.0, (ORIN_6,)), Reading(1.0, (ORIN_6,))])
