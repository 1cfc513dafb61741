"""The recipes of the captures beside this folder, by subject."""
