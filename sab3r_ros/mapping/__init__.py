"""From frames to a semantic map: keyframes, windows, alignment, voxels (paper Sec. 4; Fig. 2)."""
