"""`python -m fanscribe.cli`: the `fanscribe` command."""

from fanscribe.cli import main

main()
