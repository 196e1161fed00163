"""One model of the report, and its views."""
