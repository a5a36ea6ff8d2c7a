"""How fast requests may leave, and whether the endpoint is there.

Pure but for the waiting itself: time comes in as a clock.  Called by `engine`; knows no store and no
transport.
"""
