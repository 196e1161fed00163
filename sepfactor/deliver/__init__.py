"""From a network built to a file that was measured, and its report."""
