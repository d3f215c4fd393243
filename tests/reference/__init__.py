"""The accuracy referee: random models, a float64 forward pass over them, and the distance between two runtimes."""
