"""``python -m sepfactor``, and ``sepfactor``: nothing is imported before a Ctrl-C is understood."""

import sys


def run() -> None:
    """The command line."""
    try:
        from sepfactor.cli import main
        from sepfactor.cli.streams import never_fail_to_write

        never_fail_to_write()
        main(prog_name="sepfactor")
    except KeyboardInterrupt:
        sys.stderr.write("Error: Interrupted. No file was left half-written.\n")
        sys.exit(130)


if __name__ == "__main__":
    run()
