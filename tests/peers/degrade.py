"""What a careless photographer makes of a screen: degrade.py PICTURE FOLDER COUNT

Writes COUNT pictures into FOLDER, 00.png and on: the same ones each time. Each is seen from an angle, turned, scaled,
blurred, noisy, darker or brighter, and unevenly lit, as much of each as a person would still call a usable photo.
"""
import pathlib
import random
import sys

import numpy
from PIL import Image, ImageFilter


def perspective(source, target):
    """The eight coefficients that Pillow wants: from the corners in the new picture to those in the old one."""
    rows = []
    for (x, y), (u, v) in zip(target, source):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    return numpy.linalg.solve(numpy.array(rows, float), numpy.array(source, float).reshape(8))


def warped(picture, chance):
    """Corners moved inwards by up to an eleventh of the picture, on a background of the desk's colour."""
    width, height = picture.size
    reach = 0.09
    corners = [(0, 0), (width, 0), (width, height), (0, height)]
    moved = [(abs(x - chance.uniform(0, reach) * width), abs(y - chance.uniform(0, reach) * height)) for x, y in corners]
    desk = tuple(chance.randrange(60, 170) for _ in range(3))
    return picture.transform(picture.size, Image.Transform.PERSPECTIVE, perspective(corners, moved),
                             Image.Resampling.BICUBIC, fillcolor=desk)


def lit(pixels, chance):
    """A gradient of light from one side, and less contrast."""
    height, width, _ = pixels.shape
    towards = numpy.linspace(chance.uniform(0.5, 1), chance.uniform(0.5, 1), width)[None, :, None]
    down = numpy.linspace(chance.uniform(0.7, 1), chance.uniform(0.7, 1), height)[:, None, None]
    return pixels * towards * down * chance.uniform(0.7, 1.05) + chance.uniform(0, 40)


def degraded(picture, seed):
    chance = random.Random(seed)
    noise = numpy.random.default_rng(seed)
    scale = chance.uniform(0.9, 2.0)
    picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
    picture = warped(picture, chance)
    picture = picture.rotate(chance.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True, fillcolor=(90, 90, 90))
    picture = picture.filter(ImageFilter.GaussianBlur(chance.uniform(0, 1.4) * scale))
    pixels = lit(numpy.asarray(picture, float), chance)
    pixels += noise.normal(0, chance.uniform(2, 22), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype("uint8"))


def main():
    picture = Image.open(sys.argv[1]).convert("RGB")
    folder = pathlib.Path(sys.argv[2])
    folder.mkdir(exist_ok=True)
    for seed in range(int(sys.argv[3])):
        degraded(picture, seed).save(folder / f"{seed:02}.png")


main()
