"""Image files and pieces of images."""
