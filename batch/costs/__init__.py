"""What requests may take and cost, in tokens and US dollars.

`token_bounds` and `tokenizer` say how long a request is, `prices` what tokens cost, `spent` what an
attempt has cost, `budget` keeps a run below its cap, and `forecast` adds up what is still to be asked.

Pure but for price lists that are read once.  Called by `planning`, `engine`, `tries` and `reports`.
"""
