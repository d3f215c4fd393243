"""Speed, and builds compared."""
