"""One file for each client that is shipped with the drill: as its users write it, and no better."""
