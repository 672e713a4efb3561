"""Builds the compiled encoder if Cython and a C compiler are there, else leaves it out.

It is also left out on big-endian machines: it writes integers as the machine holds them, and BSON
is little-endian.
"""

import sys

from setuptools import setup

extensions = []
if sys.byteorder == "little":
    try:
        from Cython.Build import cythonize
    except ImportError:
        pass
    else:
        extensions = cythonize("ledger/compiled/_blocks.pyx", build_dir="build")
for extension in extensions:
    extension.optional = True

setup(ext_modules=extensions)
