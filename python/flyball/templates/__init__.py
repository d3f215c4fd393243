"""Chat templates: their language, in a sandbox."""
