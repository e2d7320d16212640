"""Distillation of 2D semantics into the 3D network (paper Sec. 4.2): data, losses, the loop and its checks."""
