"""What a device makes of an artefact: whether it takes the graph, and how long that would take.

trace      a run of a graph without its numbers: each node with its types and shapes
shapes     those that onnxruntime's own operators make   kernels    nodes as a runtime fuses them
costs      operations and bytes of a kernel              memory     what is alive at once
phases     the runs of an artefact                       check      what a target does not take
forecast   roofline, memory and energy                   rendering  a forecast as text and plain data
benches    graphs whose speed is a figure                calibrate  this machine's figures, and a forecast's error
"""
