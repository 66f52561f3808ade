"""Robustness: kills, full disks and damaged files, with the undisturbed run as the measure."""
