"""`python -m fewshot_cli` is `fewshot`."""

from fewshot_cli.app import main

if __name__ == "__main__":
    main()
