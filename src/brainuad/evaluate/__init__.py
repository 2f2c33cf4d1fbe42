"""From anomaly maps and lesion masks to numbers with intervals, under a named protocol."""
