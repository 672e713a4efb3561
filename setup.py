"""Builds the compiled encoder if Cython and a C compiler are there, else leaves it out."""

from setuptools import setup

try:
    from Cython.Build import cythonize
except ImportError:
    extensions = []
else:
    extensions = cythonize("ledger/compiled/_blocks.pyx", build_dir="build")
    for extension in extensions:
        extension.optional = True

setup(ext_modules=extensions)
