"""Every number in the README comes from here: each module is a command that prints its own."""
