"""Networks to analyse: how they were trained and exported. Meets lronnx through ONNX files only."""
