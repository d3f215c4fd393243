"""What a run tells people: the report, the dashboard."""
