"""``python -m lronnx`` is the command ``lronnx``."""

from lronnx.cli import main

if __name__ == "__main__":
    main(prog_name="lronnx")
