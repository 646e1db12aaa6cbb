"""What a tool call is, when one was wrong, and what one is worth. Standard library only."""
