"""The demo: a camera, the mapper and a client as separate processes over DDS."""
