"""Trainings killed on purpose, and whether they end as if nothing had happened."""
