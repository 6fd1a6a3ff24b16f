"""Programs that show the model at work."""
