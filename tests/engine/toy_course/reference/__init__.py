"""The reference of the toy course."""
