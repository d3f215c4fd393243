"""Training of LoRA adapters: examples in, a checked adapter out. The modules that compute need torch and gguf."""
