"""The interfaces that clients speak: a module each, with its routes."""
