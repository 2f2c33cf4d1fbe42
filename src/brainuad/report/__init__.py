"""Pages, pictures and tables of results, all from plain data."""
