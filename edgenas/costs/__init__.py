"""Costs that can be believed: tables with passports, calibration, prediction intervals."""
