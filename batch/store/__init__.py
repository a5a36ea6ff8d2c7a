"""The run folder: the only room that writes files.

`files` changes the disk, `plan` is run.json, `lock` keeps others out, `spool` and `journal` hold an
open part, `seal` makes a sealed one (`parts`), `recover` says what is there at a start, `writer`
runs it all, `contents` reads it from outside.
"""
