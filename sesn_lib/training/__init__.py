"""One loop for every experiment, and a small task for each: how its networks are trained and judged."""
