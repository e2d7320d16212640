"""The 80 sentences in which CLIP's authors put a class name (the ImageNet set of its zero-shot evaluation)."""

QUALITIES = (
    "",
    "bad ",
    "good ",
    "low resolution ",
    "cropped ",
    "bright ",
    "dark ",
    "close-up ",
    "black and white ",
    "pixelated ",
    "jpeg corrupted ",
    "blurry ",
)
KINDS = ("hard to see", "clean", "dirty", "cool", "large", "small", "nice", "weird")
MEDIA = (
    "a sculpture",
    "a rendering",
    "a rendition",
    "a tattoo",
    "a drawing",
    "a painting",
    "a doodle",
    "a sketch",
    "graffiti",
    "art",
    "itap",
)
MATERIALS = ("embroidered", "plastic", "origami", "toy", "cartoon", "plushie")


def _templates() -> tuple[str, ...]:
    out = ["a photo of many {}.", "a photo of one {}.", "a photo of my {}.", "itap of my {}."]
    for article in ("a", "the"):
        out += [f"a {quality}photo of {article} {{}}." for quality in QUALITIES]
        out += [f"a photo of {article} {kind} {{}}." for kind in KINDS]
        out += [f"{medium} of {article} {{}}." for medium in MEDIA]
        out += [f"{article} {material} {{}}." for material in MATERIALS]
        out += [f"{article} {{}} in a video game."]
    return tuple(out)


TEMPLATES = _templates()
