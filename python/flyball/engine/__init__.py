"""Models, sessions, results and receipts: the typed interface to the core."""
