"""The commands of the command line, each with its options: they print; `tuner.cli` exits."""
