"""HTTP APIs that fail well."""
