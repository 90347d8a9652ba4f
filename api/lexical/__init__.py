"""What a goal and a premise have in common as texts and symbols, and its fusion with the ranking by vectors."""
