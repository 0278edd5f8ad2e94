"""What becomes of a drill's result: a screen, a page, Markdown, JSON and JUnit; and the lists before it."""
