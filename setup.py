"""Builds the compiled encoder if Cython and a C compiler are there, else leaves it out."""

from setuptools import Extension, setup

try:
    from Cython.Build import cythonize
except ImportError:
    extensions = []
else:
    extensions = cythonize(
        [Extension("ledger.compiled._blocks", ["ledger/compiled/_blocks.pyx"], optional=True)]
    )

setup(ext_modules=extensions)
