"""Pictures, pages and files of label maps. NumPy, Pillow and OpenCV only."""
