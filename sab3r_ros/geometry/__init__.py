"""Similarities and cameras: NumPy alone, no knowledge of maps or networks."""
