"""Commands of the `premises` program."""
