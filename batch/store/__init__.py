"""The run folder: no other room writes in it.

`files` reads and changes the disk, `folder` makes the folder, `lock` keeps others out, `log` is
run.log, `plan` run.json and `budget_file` budget.json.  `spool` and `journal` hold an open part,
`sends` what was sent and has no result yet; `seal` makes a sealed part (`parts`) of them, and
`part_results` reads both together.  `recover` says what is there at a start, and `writer` goes on with
it, in `open_parts`.  `contents` and `verify` read a run from outside, `repair` sets aside what is damaged,
`reuse` takes answers of another run.  Where everything lies, a RunFolder knows.

Called by `runner`, `engine` and `planning`, which run; and by `runs`, `reports` and `outputs`, which
read.

The promise: a finished row is in exactly one place that counts, the journal of its open part or its
sealed part; and what was fsynced is never lost.  A row counts as done (progress, totals) only after
step 3.  What a kill or a power cut between two steps leaves, and what the next start makes of it:

step                                      | on disk if it ends here      | the next start
0 a line in open/sent-N, not synced       | the line                     | counts the request as maybe
1 the request is sent                     | (power cut: perhaps not)     | billed, asks the row again
2 its slice is spooled and synced         | spool, journal with header   | asks the slice's rows
3 the result is journalled and synced     | spool, journal with the row  | goes on behind it
  … torn: written, not synced             | a torn or missing last line  | cuts it off, asks that row
                                          |                              | (its request: maybe billed)
  … the spool is torn or shorter          | journal lines beyond it      | keeps them, spools anew
4 the seal writes tmp/part                | a draft in tmp/, open part   | empties tmp/, seals again
5 tmp/part is renamed to completions/     | part of generation g+1 and   | same generation: the journal
  and the folder synced                   | journal of generation g+1    | has been merged, removes it
6 sent-N, unless rows of it are still un- | part; some of the open files | removes the rest; what is
  answered, and the open part's files go  |                              | unanswered goes to open/sent
7 the folder open/part is removed, synced | part                         | nothing to do
8 usage.parquet, run.json and its copy    | the old or the new one       | writes them anew
  are replaced, in this order             |                              |

A new journal's bytes, its folder and the folder above it are synced in one group commit, parts in
order, before any row in it counts; so a part is on disk before the next one begins.  A merge of a
part with a journal (rows asked again) goes through the same steps with g >= 1: until step 5 the old
part is whole, after it the new one is.  Generation g in the journal and another than g or g-1 in
the part is no state that these steps can leave: that is damage, exit 5.

A line in open/sent-N tells how many attempts of its row were recorded when the request left; once
more are, the request is among them.  So a request is counted once, whatever was killed in between.

Nothing is written after a write or fsync that failed: the kernel may have dropped the pages, and
trying again could succeed with the data gone (https://lwn.net/Articles/752063/).  The next start
trusts checksums only.
"""
