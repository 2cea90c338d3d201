"""What survives: the picture of what stands on disk, and the files."""
