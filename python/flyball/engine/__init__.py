"""The core's typed face."""
