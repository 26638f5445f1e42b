"""The first end-to-end run: prior, modules, training by edge edits, extraction, report and pictures, on bundled data.

`deepgraph demo` runs it; `deepgraph.demo.timing` and `deepgraph.demo.benchmark` measure training steps side by side.
"""
