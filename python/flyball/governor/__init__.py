"""What looks after sessions."""
