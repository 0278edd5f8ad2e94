"""What is rehearsed, by what goes wrong: each file gives scenarios, and does nothing."""
