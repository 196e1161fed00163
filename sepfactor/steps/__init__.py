"""Steps of the way that join rooms which know nothing of each other."""
