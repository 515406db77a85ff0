"""MedFed: hospitals learn and diagnose together without giving up their patients' records."""
