"""What a model's answer consists of: text for the user, thoughts, and calls of tools, in the format of its family."""
