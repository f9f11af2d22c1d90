"""The mutation test of the option check: files are damaged at random, and each damage is to be reported or to train."""
