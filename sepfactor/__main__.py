"""``python -m sepfactor``."""

from sepfactor.cli import main

if __name__ == "__main__":
    main(prog_name="sepfactor")
