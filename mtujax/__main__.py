"""`python -m mtujax` is the command line."""

from mtujax.cli.app import main

if __name__ == "__main__":
    main()
