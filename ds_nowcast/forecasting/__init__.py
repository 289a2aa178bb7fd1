"""A forecast of a whole domain, and the file it is written to."""
