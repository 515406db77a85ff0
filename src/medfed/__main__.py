"""What `python -m medfed` runs: the command line, as the `medfed` program does."""

from medfed.cli.main import main

if __name__ == "__main__":
    main()
