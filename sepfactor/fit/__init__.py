"""What layers see, and factors fitted to it."""
