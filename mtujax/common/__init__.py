"""Files, threads, JSON, text and hardware: what every folder may use."""
