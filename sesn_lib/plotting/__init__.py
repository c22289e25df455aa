"""Every figure that two notebooks could want, by subject."""
