"""Constructs, one file each: typed values in, CloudFormation resources out. None of them reads the manifest."""
