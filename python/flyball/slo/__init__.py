"""Service levels: named scenarios, what they may take, and whether recorded runs keep to it."""
