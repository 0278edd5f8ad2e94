"""What the clients stand on: errors, retries, profiles."""
