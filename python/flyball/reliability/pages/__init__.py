"""The report and the dashboard of a run."""
