"""Many trainings and evaluations as one study, and the tables of their results."""
