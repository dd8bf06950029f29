"""From addresses to pixels: byte stores, FITS headers, wavelength axes, byte planning, and the readers built on them."""
