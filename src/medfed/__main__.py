"""`python -m medfed`."""

from medfed.cli.main import main

if __name__ == "__main__":
    main()
