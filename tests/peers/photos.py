"""A folder of photos and PDFs as people have them, and a second opinion on what arrived.

    photos.py make FOLDER [--count N] [--edge PIXELS]     write it; N more photos with the longer edge so long
    photos.py look FILE...                                one line of JSON for each file: what Pillow sees in it
"""

import io
import json
import pathlib
import struct
import sys
import zlib

import numpy
from PIL import ExifTags, Image, ImageCms, ImageDraw, PngImagePlugin

GPS = {1: "N", 2: (52.0, 31.0, 12.5), 3: "E", 4: (13.0, 24.0, 36.25), 29: "2026:07:14"}
XMP = (b'<?xpacket begin=""?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
       b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
       b'xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="52,31.2083N" exif:GPSLongitude="13,24.6042E"/>'
       b'</rdf:RDF></x:xmpmeta><?xpacket end="w"?>')


def scene(width, height, seed, mode="RGB"):
    """Sky, hills and grain: it compresses about as a photo does."""
    random = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.float32)
    hills = numpy.sin(x / width * 7 + seed) * 0.12 + numpy.sin(x / width * 31) * 0.03 + 0.55
    ground = (y / height > hills).astype(numpy.float32)
    blur = random.normal(0, 1, (height // 8 + 1, width // 8 + 1)).astype(numpy.float32).repeat(8, 0).repeat(8, 1)
    texture = blur[:height, :width] * 14 * ground + random.normal(0, 4, (height, width)).astype(numpy.float32)
    sky = 210 - 70 * (y / height)
    channels = [sky * (1 - ground) * tint + (60 + 50 * x / width) * ground * green + texture
                for tint, green in [(0.72, 0.8), (0.85, 1.1), (1.1, 0.5)]]
    picture = Image.fromarray(numpy.clip(numpy.stack(channels, -1), 0, 255).astype(numpy.uint8), "RGB")
    return picture.convert(mode)


def exif(orientation=6, gps=True):
    data = Image.Exif()
    data[ExifTags.Base.Make] = "Kamera"
    data[ExifTags.Base.Model] = "Modell 7"
    data[ExifTags.Base.Orientation] = orientation
    data[ExifTags.Base.DateTime] = "2026:07:14 12:34:56"
    shot = data.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal] = "2026:07:14 12:34:56"
    shot[ExifTags.Base.OffsetTimeOriginal] = "+02:00"
    shot[ExifTags.Base.ExposureTime] = (1, 250)
    shot[ExifTags.Base.MakerNote] = b"maker: Alexanderplatz\0" * 3
    if gps:
        data.get_ifd(ExifTags.IFD.GPSInfo).update(GPS)
    return data


def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def screenshot(mode="RGB"):
    picture = Image.new("RGB", (900, 600), "white")
    draw = ImageDraw.Draw(picture)
    for line in range(40):
        draw.text((20, 14 * line + 8), f"{line:3} a line of text such as a window shows, {line * 7919 % 1000}", fill="black")
    draw.rectangle((600, 80, 860, 300), fill=(40, 90, 200))
    return picture.convert(mode)


def text_pdf(pages):
    """As small programs write them: nothing compressed, and an object that nothing refers to."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for page in range(pages):
        lines = "".join(f"1 0 0 1 60 {780 - 14 * line} Tm (Page {page}, line {line}: quite ordinary words) Tj " for line in range(50))
        stream = f"BT /F1 11 Tf {lines}ET".encode()
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        objects.append(b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>"
                       % len(objects))
        kids.append(len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (pages, b" ".join(b"%d 0 R" % kid for kid in kids))
    objects.append(b"<</Length 5000>>stream\n" + b"unused " * 714 + b"xx\nendstream")
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(out)


def bomb(width, height):
    """A PNG of that size whose pixels are all alike: a few bytes that want gigabytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    squeeze, rows = zlib.compressobj(9), b"\0" * ((width + 7) // 8 + 1)
    data = b"".join(squeeze.compress(rows) for _ in range(height)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bomb_pdf(mebibytes):
    """A PDF with a packed object that takes a thousand times as much room as the file."""
    squeeze, spaces = zlib.compressobj(9), b" " * (1024 * 1024)
    packed = squeeze.compress(b"5 0 ") + b"".join(squeeze.compress(spaces) for _ in range(mebibytes)) + squeeze.flush()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count 0/Kids[]>>",
        b"<</Type/ObjStm/N 1/First 4/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(packed), packed),
    ]
    out, places = bytearray(b"%PDF-1.5\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    rows = [(0, 0, 65535)] + [(1, place, 0) for place in places] + [(1, start, 0), (2, 3, 0)]
    table = b"".join(struct.pack(">BIH", *row) for row in rows)
    out += b"4 0 obj\n<</Type/XRef/Size 6/W[1 4 2]/Root 1 0 R/Length %d>>stream\n%s\nendstream\nendobj\n" % (len(table), table)
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def make(folder, count, edge):
    folder.mkdir(parents=True, exist_ok=True)
    photo = scene(1200, 900, 1)
    photo.save(folder / "photo.jpg", quality=95, exif=exif(), xmp=XMP, icc_profile=profile(), comment=b"at home")
    photo.save(folder / "fine.jpg", quality=96, subsampling=0, exif=exif(8), progressive=True)
    scene(900, 700, 2, "L").save(folder / "grey.jpg", quality=95, exif=exif(1))
    scene(900, 700, 3, "CMYK").save(folder / "print.jpg", quality=95)
    photo.save(folder / "plain.jpg", quality=95)
    photo.save(folder / "poor.jpg", quality=30)
    encoded = (folder / "photo.jpg").read_bytes()
    (folder / "moving.jpg").write_bytes(encoded + b"\0\0\0\x18ftypmp42" + b"+52.5201+013.4102/" * 200)
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", "somebody")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    screenshot().save(folder / "window.png", pnginfo=info, exif=exif(1), icc_profile=profile(), compress_level=1)
    screenshot("P").save(folder / "colours.png", compress_level=1)
    scene(700, 500, 4, "RGBA").save(folder / "clear.png", compress_level=1)
    frames = [screenshot().rotate(turn) for turn in (0, 1, 2)]
    frames[0].save(folder / "moves.png", save_all=True, append_images=frames[1:], duration=100)
    photo.save(folder / "web.webp", quality=80, exif=exif(3), xmp=XMP, icc_profile=profile())
    (folder / "text.pdf").write_bytes(text_pdf(30))
    pages = [scene(600, 800, seed) for seed in (5, 6)]
    pages[0].save(folder / "scan.pdf", save_all=True, append_images=pages[1:])
    (folder / "words.txt").write_text("GPSLatitude is but a word here\n")
    for number in range(count):
        name = f"shot-{number:03}.jpg"
        # Drawing takes longer than anything else: ten different ones do.
        original = folder / f"shot-{number % 10:03}.jpg"
        if original.exists():
            (folder / name).write_bytes(original.read_bytes())
        else:
            scene(edge, edge * 3 // 4, number).save(folder / name, quality=95, exif=exif())


def make_hostile(folder):
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    scene(400, 300, 1).save(buffer, "JPEG", quality=95, exif=exif())
    jpeg = buffer.getvalue()
    buffer = io.BytesIO()
    screenshot().save(buffer, "PNG", compress_level=1)
    png = buffer.getvalue()
    frame = jpeg.index(b"\xff\xc0")
    files = {
        "bomb.pdf": bomb_pdf(256),
        "bomb.png": bomb(60_000, 60_000),
        "cut.jpg": jpeg[:len(jpeg) // 2],
        "cut.png": png[:len(png) // 2],
        "flipped.png": png[:2_000] + bytes([png[2_000] ^ 0xff]) + png[2_001:],
        "huge.jpg": jpeg[:frame + 5] + b"\xff\xff\xff\xff" + jpeg[frame + 9:],
        "nothing.jpg": b"\xff\xd8\xff",
        "nothing.png": b"\x89PNG\r\n\x1a\n",
        "long.jpg": jpeg[:2] + (b"\xff\xe2\xff\xff" + b"ICC_PROFILE\0" + b"x" * 65521) * 30 + jpeg[2:],
        "polyglot.png": png + b"PK\3\4 and an archive behind it",
        "moved.jpg": jpeg + b"\0\0\0\x18ftypmp42 and a video behind it",
        "cut.pdf": text_pdf(3)[:2_000],
        "deep.pdf": b"%PDF-1.4\n1 0 obj\n" + b"[" * 200_000 + b"\nendobj\ntrailer<</Root 1 0 R>>\nstartxref\n9\n%%EOF\n",
        "cut.webp": b"RIFF\xff\xff\0\0WEBPVP8X",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)


def look(path):
    content = path.read_bytes()
    marks = [b"GPSLat", b"Alexanderplatz", b"+52.5201", struct.pack(">II", 52, 1), struct.pack("<II", 52, 1)]
    seen = {"name": path.name, "bytes": len(content), "traces": [mark.decode("latin-1") for mark in marks if mark in content]}
    with Image.open(path) as picture:
        picture.load()
        data = picture.getexif()
        shot = data.get_ifd(ExifTags.IFD.Exif)
        seen |= {
            "format": picture.format, "size": picture.size, "mode": picture.mode,
            "orientation": data.get(ExifTags.Base.Orientation), "taken": shot.get(ExifTags.Base.DateTimeOriginal),
            "zone": shot.get(ExifTags.Base.OffsetTimeOriginal), "model": data.get(ExifTags.Base.Model),
            "gps": len(data.get_ifd(ExifTags.IFD.GPSInfo)), "icc": "icc_profile" in picture.info,
            "frames": getattr(picture, "n_frames", 1),
        }
        small = picture.convert("RGB").resize((16, 12), Image.Resampling.BOX)
        seen["colours"] = [list(small.getpixel((x, y))) for y in range(12) for x in range(16)]
    return seen


def main():
    what, *rest = sys.argv[1:]
    if what == "look":
        for name in rest:
            print(json.dumps(look(pathlib.Path(name))))
        return
    options = dict(zip(rest[1::2], rest[2::2]))
    folder = pathlib.Path(rest[0])
    if what == "hostile":
        make_hostile(folder)
    else:
        make(folder, int(options.get("--count", 0)), int(options.get("--edge", 4000)))


main()
