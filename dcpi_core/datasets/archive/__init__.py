"""Uploaded archives of class folders: checked, decoded and rewritten as one canonical file.

The archive is somebody else's. It is streamed, never extracted; sizes in headers are not
believed; every image is decoded completely. Run it in a process of its own, with limits::

    python -m dcpi_core.datasets.archive inspect pets.zip --name pets --out pets.safetensors

What is accepted
    zip (stored or deflated), tar, tar.gz, tar.xz, tar.bz2, recognised by content.
    ``train/<class>/<image>`` and ``test/<class>/<image>``, or ``<class>/<image>``, which is split
    per class by the seed; either may lie inside one wrapping folder.
    PNG, JPEG, WebP, BMP and GIF (its first frame). Files that computers leave behind
    (``names.LEFTOVERS``) and ``*.txt``, ``*.md``, README and LICENSE at the top are passed over;
    any other file is refused.

What becomes of an image
    Turned upright as its EXIF orientation says; transparency laid over white; 16-bit grey reduced
    to its high byte. If every image is grey the dataset has one channel, otherwise all become RGB.
    With ``image_size`` the central square is resized (bicubic); without it all must be of one size.

Classes are ordered by name and images by class, then name, so the result does not depend on the
order inside the archive.

This package needs no torch.
"""

from dcpi_core.datasets.archive.limits import Limits
from dcpi_core.datasets.archive.prepare import inspect_archive

__all__ = ["Limits", "inspect_archive"]
