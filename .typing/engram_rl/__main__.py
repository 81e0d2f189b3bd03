"""`python -m engram_rl train ...` is `engram train ...`."""

from engram_rl.command_line import main

main()
