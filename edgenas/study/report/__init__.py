"""The report of a run: its data (``report.json``) and one self-contained HTML page."""

from __future__ import annotations

from edgenas.study.report.data import (
    BlockCost,
    DataSummary,
    EvaluatedPoint,
    ExportCheck,
    ExportedFile,
    FileCost,
    Finalist,
    FrontMember,
    Learned,
    LearnedDistribution,
    LearnedEpoch,
    ProgressPoint,
    Remeasured,
    ReportData,
    StepTime,
    TableRecord,
    read_report_data,
    write_report_data,
)
from edgenas.study.report.page import render_report, write_report

__all__ = [
    "BlockCost",
    "DataSummary",
    "EvaluatedPoint",
    "ExportCheck",
    "ExportedFile",
    "FileCost",
    "Finalist",
    "FrontMember",
    "Learned",
    "LearnedDistribution",
    "LearnedEpoch",
    "ProgressPoint",
    "Remeasured",
    "ReportData",
    "StepTime",
    "TableRecord",
    "read_report_data",
    "render_report",
    "write_report",
    "write_report_data",
]
