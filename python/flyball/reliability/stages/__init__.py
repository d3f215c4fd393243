"""What a run does, a stage a module."""
