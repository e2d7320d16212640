"""From a phrase to the things in the map that it names."""
