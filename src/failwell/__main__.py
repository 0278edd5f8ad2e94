"""`python -m failwell` is the command `failwell`."""

from failwell.cli import main

main()
