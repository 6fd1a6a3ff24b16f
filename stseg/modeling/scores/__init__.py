"""What a network answers, read in blocks: sources, windows, best classes."""
