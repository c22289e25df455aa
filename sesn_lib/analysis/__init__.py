"""From records to answers: what was published, the statistics, the claims, and what is to be said of them."""
