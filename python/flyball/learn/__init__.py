"""Learning from use: examples, adapters, and what decides whether an adapter answers."""
