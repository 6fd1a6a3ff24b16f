"""What every room may use: files, paths, errors, random states, threads."""
