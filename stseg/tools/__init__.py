"""Commands beside training and prediction: prepare, verify, show, name similarity."""
