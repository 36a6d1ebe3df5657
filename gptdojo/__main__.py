"""`python -m gptdojo`."""

from .cli.app import main

main()
