"""Option files: read, merged, checked for their outline, and where each key stands."""
