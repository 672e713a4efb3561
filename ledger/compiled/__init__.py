"""Makes documents with a compiled extension, many times faster than the reference in Python.

The extension knows only the common form of an envelope. Every other envelope goes to the reference.
Both give the same documents, byte for byte. The extension is absent where no C compiler was
available when the program was installed.
"""
