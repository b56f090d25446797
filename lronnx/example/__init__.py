"""A small trained network and two points, to try lronnx on."""
