"""
What the drill has to know of each SDK and its service.

They stand here because they join the two: nothing below the sandbox knows both.
"""
