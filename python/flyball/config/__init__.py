"""Settings: the file, the environment, the command line, and which of them holds."""
