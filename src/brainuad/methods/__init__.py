"""One file per method; a file that lies here is a method, found by its name."""
