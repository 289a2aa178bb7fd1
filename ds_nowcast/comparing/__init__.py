"""Several evaluated runs beside each other, with bootstrap intervals."""
