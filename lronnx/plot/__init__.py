"""Pictures of what was found: data (:mod:`~lronnx.plot.figures`), and who draws them.

A figure is described once, independent of how it is drawn: :mod:`~lronnx.plot.segment` describes a walk,
:mod:`~lronnx.plot.study` what a study found, :mod:`~lronnx.plot.network` a network. :mod:`~lronnx.plot.still` draws
figures with matplotlib, as PNG or SVG; :mod:`~lronnx.plot.page` makes interactive pages of them with Plotly. Only these
two import the drawing libraries, which are the extra ``lronnx[plot]``.
"""
