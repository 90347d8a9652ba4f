"""Route files: each translates one protocol to the core and back."""
