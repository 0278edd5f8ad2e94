"""Argus: texts are checked for competitors, secrets and personal data."""
